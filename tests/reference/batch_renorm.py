"""Batch renormalization, as loops over float64 arrays (N, C, S): arXiv 1702.03275, algorithm 1."""

from itertools import product
from math import sqrt

import numpy as np

from tests.reference.norms import affine, channel_statistics, running_statistics


def ramped(step, start, limit, warmup_steps, ramp_steps):
    """`start` up to step `warmup_steps`, then linear, and `limit` from `ramp_steps` later on."""
    if step >= warmup_steps + ramp_steps:
        return limit
    if step <= warmup_steps:
        return start
    return start + (limit - start) * (step - warmup_steps) / ramp_steps


def renorm_limits(step, r_max=3.0, d_max=5.0, warmup_steps=5000, ramp_steps=35000):
    """The limits of r and d at a step: 1 and 0 during the warm-up, then on to `r_max` and `d_max`.

    The paper ramps r over 35,000 steps and d over 20,000: call it once for each.
    """
    return (
        ramped(step, 1.0, r_max, warmup_steps, ramp_steps),
        ramped(step, 0.0, d_max, warmup_steps, ramp_steps),
    )


def clipped(value, lowest, highest):
    return min(max(value, lowest), highest)


def renorm_correction(x, running_mean, running_var, r_max, d_max, eps=1e-5):
    """The correction (r, d), each (C,), of a batch by the running statistics before the batch.

    r = sd / running_sd clipped to [1 / r_max, r_max]; d = (mean - running_mean) / running_sd
    clipped to [-d_max, d_max]; a standard deviation is sqrt(variance + eps), the batch's biased.
    """
    mean, variance = channel_statistics(x)
    r, d = np.empty_like(mean), np.empty_like(mean)
    for c in range(x.shape[1]):
        running_deviation = sqrt(running_var[c] + eps)
        r[c] = clipped(sqrt(variance[c] + eps) / running_deviation, 1 / r_max, r_max)
        d[c] = clipped((mean[c] - running_mean[c]) / running_deviation, -d_max, d_max)
    return r, d


def corrected_batch_norm(x, r, d, weight, bias, eps=1e-5):
    """weight * ((x - mean) / sd * r + d) + bias, with batch statistics and a given correction.

    With r and d held fixed its derivatives are those of batch renorm, for which they are constants.
    """
    mean, variance = channel_statistics(x)
    y = np.empty_like(x)
    for n, c, s in product(*map(range, x.shape)):
        y[n, c, s] = (x[n, c, s] - mean[c]) / sqrt(variance[c] + eps) * r[c] + d[c]
    return affine(y, weight, bias)


def batch_renorm(x, weight, bias, running_mean, running_var, r_max=3.0, d_max=5.0, eps=1e-5):
    """Batch renorm of a training batch, given the running statistics before it."""
    r, d = renorm_correction(x, running_mean, running_var, r_max, d_max, eps)
    return corrected_batch_norm(x, r, d, weight, bias, eps)


def batch_renorm_steps(batches, weight, bias, update_rate, limits, eps=1e-5):
    """Outputs of consecutive training batches; limits(step) -> (r_max, d_max), steps from 0.

    Running statistics begin at 0 and 1 and are torch's (`running_statistics`); the paper averages
    the standard deviation instead of the unbiased variance.
    """
    channels = batches[0].shape[1]
    running, outputs = (np.zeros(channels), np.ones(channels)), []
    for step, x in enumerate(batches):
        outputs.append(batch_renorm(x, weight, bias, *running, *limits(step), eps=eps))
        running = running_statistics(batches[: step + 1], update_rate)
    return outputs
