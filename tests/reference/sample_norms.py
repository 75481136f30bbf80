"""Norms within one sample, as loops over float64 arrays (N, C, S), written from their equations."""

from itertools import product
from math import exp, fsum, sqrt

import numpy as np

from tests.reference.norms import affine, mean_and_variance


def instance_norm(x, weight, bias, eps=1e-5):
    """arXiv 1607.08022, in the form of arXiv 1803.08494, equations 1, 2, 5 and 6.

    Statistics of each channel of each sample, over its positions. For vectors (S = 1) the variance
    is 0 and the result is the bias.
    """
    y = np.empty_like(x)
    for n, c in product(range(x.shape[0]), range(x.shape[1])):
        mean, variance = mean_and_variance(list(x[n, c]))
        for s in range(x.shape[2]):
            y[n, c, s] = (x[n, c, s] - mean) / sqrt(variance + eps)
    return affine(y, weight, bias)


def layer_norm(x, weight, bias, eps=1e-5):
    """arXiv 1607.06450, in the form of arXiv 1803.08494, equations 1, 2, 4 and 6.

    Statistics of each sample over channels and positions; weight and bias per channel.
    """
    y = np.empty_like(x)
    for n in range(x.shape[0]):
        mean, variance = mean_and_variance([v for c in range(x.shape[1]) for v in x[n, c]])
        for c, s in product(range(x.shape[1]), range(x.shape[2])):
            y[n, c, s] = (x[n, c, s] - mean) / sqrt(variance + eps)
    return affine(y, weight, bias)


def rms_norm(x, weight, eps=1e-5):
    """arXiv 1910.07467: x / RMS(x) * weight, RMS over the channels and positions of a sample.

    The mean square is about 0, as neither the input nor its square is centred. eps is added under
    the root.
    """
    y = np.empty_like(x)
    for n in range(x.shape[0]):
        values = [v for c in range(x.shape[1]) for v in x[n, c]]
        root_mean_square = sqrt(fsum(v * v for v in values) / len(values) + eps)
        for c, s in product(range(x.shape[1]), range(x.shape[2])):
            y[n, c, s] = weight[c] * x[n, c, s] / root_mean_square
    return y


def filter_response_norm(x, weight, bias, threshold=None, eps=1e-6):
    """arXiv 1911.09737: z = max(weight * x / sqrt(nu2 + eps) + bias, threshold).

    nu2 is the mean square over the positions of a channel of a sample. The maximum is the
    thresholded linear unit (TLU), with one threshold per channel; None omits it. The eps of the
    paper is 1e-6, or learned for S = 1; that of timm is 1e-5.
    """
    y = np.empty_like(x)
    for n, c, s in product(*map(range, x.shape)):
        mean_square = fsum(v * v for v in x[n, c]) / x.shape[2]
        y[n, c, s] = weight[c] * x[n, c, s] / sqrt(mean_square + eps) + bias[c]
        if threshold is not None:
            y[n, c, s] = max(y[n, c, s], threshold[c])
    return y


def evonorm_s0(x, gate_weight, weight, bias, groups, eps=1e-5):
    """arXiv 2004.02967, EvoNorm-S0: x * sigmoid(v x) / group_std(x) * weight + bias.

    v is `gate_weight` (C,); group_std is the biased standard deviation over the channels of a group
    and the positions of a sample, eps under the root. timm computes the same.
    """
    y = np.empty_like(x)
    size = x.shape[1] // groups
    for n, c, s in product(*map(range, x.shape)):
        start = c // size * size
        group = [v for member in range(start, start + size) for v in x[n, member]]
        _, variance = mean_and_variance(group)
        gate = 1 / (1 + exp(-gate_weight[c] * x[n, c, s]))
        y[n, c, s] = x[n, c, s] * gate / sqrt(variance + eps)
    return affine(y, weight, bias)
