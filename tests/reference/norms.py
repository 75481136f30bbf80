"""Batch, group and representative batch norm and standardized weights, and what all norms share.

Norms are loops over float64 arrays of shape (N, C, S), S the number of positions; for vectors
(N, C) S is 1. Variances are biased unless a function says otherwise.
"""

from itertools import product
from math import exp, fsum, sqrt

import numpy as np


def mean_and_variance(values):
    mean = fsum(values) / len(values)
    return mean, fsum((value - mean) ** 2 for value in values) / len(values)


def channel_statistics(x):
    """Mean and biased variance, each (C,), of each channel of (N, C, S)."""
    statistics = [
        mean_and_variance([v for n in range(len(x)) for v in x[n, c]]) for c in range(x.shape[1])
    ]
    return np.array(statistics).T


def normalize_channels(x, mean, variance, eps):
    y = np.empty_like(x)
    for n, c, s in product(*map(range, x.shape)):
        y[n, c, s] = (x[n, c, s] - mean[c]) / sqrt(variance[c] + eps)
    return y


def affine(x, weight, bias):
    y = np.empty_like(x)
    for n, c, s in product(*map(range, x.shape)):
        y[n, c, s] = weight[c] * x[n, c, s] + bias[c]
    return y


def batch_norm(x, weight, bias, eps=1e-5):
    """arXiv 1502.03167, algorithm 1, on (N, C, S)."""
    return affine(normalize_channels(x, *channel_statistics(x), eps), weight, bias)


def group_norm(x, weight, bias, groups, eps=1e-5):
    """arXiv 1803.08494, equations 1, 2, 6 and 7, on (N, C, S)."""
    y = np.empty_like(x)
    size = x.shape[1] // groups
    for n, c, s in product(*map(range, x.shape)):
        start = c // size * size
        group = [v for member in range(start, start + size) for v in x[n, member]]
        mean, variance = mean_and_variance(group)
        y[n, c, s] = (x[n, c, s] - mean) / sqrt(variance + eps)
    return affine(y, weight, bias)


def instance_statistics(x, statistic="mean", eps=1e-5):
    """K of representative batch norm, (N, C): `mean`, `std` (sqrt(variance + eps)) or `max`."""
    found = np.empty(x.shape[:2])
    for n, c in product(*map(range, x.shape[:2])):
        mean, variance = mean_and_variance(list(x[n, c]))
        found[n, c] = {"mean": mean, "std": sqrt(variance + eps), "max": max(x[n, c])}[statistic]
    return found


def centring_calibration(x, center_weight, known=None):
    """X_cm = X + w_m * K_m of representative batch norm, on (N, C, S)."""
    known = instance_statistics(x) if known is None else known
    y = np.empty_like(x)
    for n, c, s in product(*map(range, x.shape)):
        y[n, c, s] = x[n, c, s] + center_weight[c] * known[n, c]
    return y


def scaling_calibration(x, scale_weight, scale_bias, known=None, gate="sigmoid"):
    """X_cs = X_s * R(w_v * K_s + w_b) of representative batch norm, on (N, C, S)."""
    known = instance_statistics(x) if known is None else known
    y = np.empty_like(x)
    for n, c, s in product(*map(range, x.shape)):
        before = [w * k + b for w, k, b in zip(scale_weight, known[n], scale_bias, strict=True)]
        gates = {
            "sigmoid": 1 / (1 + exp(-before[c])),
            "tanh": (exp(before[c]) - exp(-before[c])) / (exp(before[c]) + exp(-before[c])),
            "softmax": exp(before[c]) / sum(map(exp, before)),
            "none": before[c],
        }
        y[n, c, s] = x[n, c, s] * gates[gate]
    return y


def representative_batch_norm(
    x, center_weight, scale_weight, scale_bias, weight, bias, statistics=None, eps=1e-5
):
    """Gao et al., CVPR 2021, on (N, C, S); statistics: (mean, variance), or the batch's."""
    centred = centring_calibration(x, center_weight)
    mean, variance = channel_statistics(centred) if statistics is None else statistics
    standard = normalize_channels(centred, mean, variance, eps)
    return affine(scaling_calibration(standard, scale_weight, scale_bias), weight, bias)


def calibrated_batch_norm(x, weight, bias, gate, statistic, eps=1e-5, **weights):
    """The same with the calibrations whose weights are given, another gate and statistic."""
    if "center_weight" in weights:
        known = instance_statistics(x, statistic, eps)
        x = centring_calibration(x, weights["center_weight"], known)
    mean, variance = channel_statistics(x)
    y = normalize_channels(x, mean, variance, eps)
    if "scale_weight" in weights:
        if statistic == "std":  # of x, in units of the batch's deviation
            known = instance_statistics(x, statistic, eps) / np.sqrt(variance + eps)
        else:
            known = instance_statistics(y, statistic)
        y = scaling_calibration(y, weights["scale_weight"], weights["scale_bias"], known, gate)
    return affine(y, weight, bias)


def running_statistics(batches, update_rate, correction=1):
    """Moving averages of mean and variance over batches (N, C, S), from 0 and 1.

    As in torch, the batch variance that moves the average is the unbiased one; `correction=0`
    takes the biased one.
    """
    running_mean, running_variance = np.zeros(batches[0].shape[1]), np.ones(batches[0].shape[1])
    for x in batches:
        count = x.shape[0] * x.shape[2]
        mean, variance = channel_statistics(x)
        running_mean = (1 - update_rate) * running_mean + update_rate * mean
        corrected = variance * count / (count - correction)
        running_variance = (1 - update_rate) * running_variance + update_rate * corrected
    return running_mean, running_variance


def standardized_weight(weight, eps=1e-6):
    """arXiv 1903.10520: each output channel of (C_out, *fan_in) to mean 0, variance 1."""
    y = np.empty_like(weight)
    for o in range(len(weight)):
        mean, variance = mean_and_variance(list(weight[o].ravel()))
        for index in product(*map(range, weight.shape[1:])):
            y[(o, *index)] = (weight[(o, *index)] - mean) / sqrt(variance + eps)
    return y
