"""Norms written from their equations, in plain torch on float64 tensors (N, C, S).

S is the number of positions, and 1 for vectors (N, C); tables of channels are (C,). Variances are
biased unless a function says otherwise. Autograd differentiates through all of them.
"""

from functools import partial

import torch


def positions(x):
    """Return an input of any shape as (N, C, S)."""
    return x.reshape(*x.shape[:2], -1)


def joined(batches):
    """Return all values of batches (N_i, C, S_i) as (1, C, sum of N_i * S_i)."""
    return torch.cat([x.transpose(0, 1).flatten(1) for x in batches], 1)[None]


def moments(x, dims):
    """Return mean and variance over some dimensions, which stay with size 1."""
    return x.mean(dims, keepdim=True), x.var(dims, correction=0, keepdim=True)


def channel_statistics(x):
    return tuple(table.flatten() for table in moments(x, (0, 2)))


def population_statistics(batches):
    """Mean and unbiased variance of all values of batches of any size (arXiv 2105.07576)."""
    values = joined(batches)[0]
    return values.mean(1), values.var(1)


def running_statistics(batches, update_rate):
    """Moving averages of mean and unbiased variance, from 0 and 1."""
    mean, variance = torch.zeros(2, batches[0].shape[1], dtype=torch.float64)
    variance = variance + 1
    for x in batches:
        found = population_statistics([x])
        mean = (1 - update_rate) * mean + update_rate * found[0]
        variance = (1 - update_rate) * variance + update_rate * found[1]
    return mean, variance


def affine(x, weight, bias):
    return weight[:, None] * x + bias[:, None]


def normalized(x, mean, variance, eps=1e-5):
    return (x - mean[:, None]) / (variance[:, None] + eps).sqrt()


def frozen_batch_norm(x, weight, bias, mean, variance):
    """arXiv 1502.03167, algorithm 2."""
    return affine(normalized(x, mean, variance), weight, bias)


def batch_norm(x, weight, bias):
    """arXiv 1502.03167, algorithm 1."""
    return frozen_batch_norm(x, weight, bias, *channel_statistics(x))


def group_norm(x, weight, bias, groups, eps=1e-5):
    """arXiv 1803.08494, equations 1, 2, 6 and 7; `groups` is 1 for ln and C for in."""
    rows = x.reshape(len(x), groups, -1)
    mean, variance = moments(rows, 2)
    return affine(((rows - mean) / (variance + eps).sqrt()).view_as(x), weight, bias)


def rms_norm(x, weight, eps=1e-5):
    """arXiv 1910.07467, over the channels and positions of a sample."""
    return weight[:, None] * x / (x.square().mean((1, 2), keepdim=True) + eps).sqrt()


def filter_response_norm(x, weight, bias, threshold=None, eps=1e-6):
    """arXiv 1911.09737; without a threshold, without the thresholded linear unit."""
    y = affine(x / (x.square().mean(2, keepdim=True) + eps).sqrt(), weight, bias)
    return y if threshold is None else y.maximum(threshold[:, None])


def evonorm_s0(x, v, weight, bias, groups, eps=1e-5):
    """arXiv 2004.02967: x * sigmoid(v x) / group_std(x) * weight + bias."""
    _, variance = moments(x.reshape(len(x), groups, -1), 2)
    gated = (x * torch.sigmoid(v[:, None] * x)).reshape(len(x), groups, -1)
    return affine((gated / (variance + eps).sqrt()).view_as(x), weight, bias)


def evonorm_b0(x, v, weight, bias, eps=1e-3):
    """arXiv 2004.02967: x / max(batch_std, v x + instance_std) * weight + bias."""
    batch, instance = ((moments(x, dims)[1] + eps).sqrt() for dims in ((0, 2), 2))
    return affine(x / batch.maximum(v[:, None] * x + instance), weight, bias)


def domain_batch_norm(x, domains, weight, bias, statistics=None):
    """arXiv 1906.03950: batch norm of the samples of each of the domains (N,) on their own.

    weight, bias: (C,) where domains share them, else (D, C). statistics: means and variances, each
    (D, C), or those of the batch.
    """
    y = torch.empty_like(x)
    for domain in domains.unique():
        own = x[domains == domain]
        used = channel_statistics(own) if statistics is None else [s[domain] for s in statistics]
        tables = (t[domain] if t.ndim == 2 else t for t in (weight, bias))
        y[domains == domain] = frozen_batch_norm(own, *tables, *used)
    return y


def switchable_norm(x, mean_logits, variance_logits, weight, bias, eps=1e-5):
    """arXiv 1806.10779: mixtures of the moments of in, ln, bn, in this order."""
    kinds = [moments(x, dims) for dims in (2, (1, 2), (0, 2))]
    mean = sum(w * mean for w, (mean, _) in zip(mean_logits.softmax(0), kinds, strict=True))
    variance = sum(w * v for w, (_, v) in zip(variance_logits.softmax(0), kinds, strict=True))
    return affine((x - mean) / (variance + eps).sqrt(), weight, bias)


def instance_statistics(x, statistic, eps):
    """K of representative batch norm, (N, C, 1): `mean`, `std` (sqrt(variance + eps)) or `max`."""
    if statistic == "std":
        return (moments(x, 2)[1] + eps).sqrt()
    return x.mean(2, keepdim=True) if statistic == "mean" else x.amax(2, keepdim=True)


GATES = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softmax": lambda z: z.softmax(1),
    "none": lambda z: z,
}


def representative_batch_norm(x, weight, bias, gate="sigmoid", statistic="mean", **weights):
    """Gao et al., CVPR 2021, with those calibrations whose weights are given."""
    known = partial(instance_statistics, statistic=statistic, eps=1e-5)
    if "center_weight" in weights:
        x = x + weights["center_weight"][:, None] * known(x)
    mean, variance = channel_statistics(x)
    y = normalized(x, mean, variance)
    if "scale_weight" in weights:
        deviation = (variance + 1e-5).sqrt()[:, None]  # of the batch, the unit of those of x
        before = affine(
            known(x) / deviation if statistic == "std" else known(y),
            weights["scale_weight"],
            weights["scale_bias"],
        )
        y = y * GATES[gate](before)
    return affine(y, weight, bias)


def renorm_limits(step, warmup_steps, r_ramp_steps, d_ramp_steps, r_max=3.0, d_max=5.0):
    """r_max and d_max at a step: 1 and 0 during the warm-up, then on to their values."""
    r_share, d_share = (
        min(max((step - warmup_steps) / ramp, 0), 1) for ramp in (r_ramp_steps, d_ramp_steps)
    )
    return 1 + (r_max - 1) * r_share, d_max * d_share


def batch_renorm(x, weight, bias, running_mean, running_var, r_max, d_max, eps=1e-5):
    """arXiv 1702.03275, algorithm 1; the correction is a constant of the gradient."""
    mean, variance = channel_statistics(x)
    running = (running_var + eps).sqrt()
    r = ((variance + eps).sqrt() / running).clamp(1 / r_max, r_max).detach()
    d = ((mean - running_mean) / running).clamp(-d_max, d_max).detach()
    return affine(affine(normalized(x, mean, variance, eps), r, d), weight, bias)


def zca_root(covariance, eps=1e-5):
    """arXiv 1804.08450: (covariance + eps I)^(-1/2) by eigenvalues."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors @ ((values + eps) ** -0.5).diag_embed() @ vectors.mT


def newton_root(covariance, iterations=5, eps=1e-5):
    """arXiv 1904.03441, algorithm 1: Newton's iterations towards the root of `zca_root`."""
    power = torch.eye(covariance.shape[-1], dtype=covariance.dtype)
    sigma = covariance + eps * power
    trace = sigma.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
    for _ in range(iterations):
        power = 1.5 * power - 0.5 * power @ power @ power @ (sigma / trace)
    return power / trace.sqrt()


def whitened(x, weight, bias, root, groups):
    """Each group of consecutive channels, whitened by the root of its covariance."""
    values = x.transpose(0, 1).reshape(groups, x.shape[1] // groups, -1)
    centred = values - values.mean(2, keepdim=True)
    covariance = centred @ centred.mT / centred.shape[2]
    y = (root(covariance) @ centred).reshape(x.shape[1], len(x), -1).transpose(0, 1)
    return affine(y, weight, bias)


def standardized_weight(weight, eps=1e-6):
    """arXiv 1903.10520: each output channel of (C_out, *fan_in) to mean 0, variance 1."""
    mean, variance = moments(weight.flatten(1), 1)
    return ((weight.flatten(1) - mean) / (variance + eps).sqrt()).view_as(weight)
