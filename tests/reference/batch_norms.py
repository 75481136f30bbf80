"""Norms on batch statistics, as loops over float64 arrays (N, C, S), written from their equations.

A `statistics` argument, (mean, variance) each (C,), replaces the batch's own: for evaluation with
running statistics, or if a paper treats them as constants of the gradient.
"""

from itertools import product
from math import exp, sqrt

import numpy as np

from tests.reference.norms import (
    affine,
    batch_norm,
    channel_statistics,
    mean_and_variance,
    normalize_channels,
    running_statistics,
)
from tests.reference.population import joined, pooled_statistics


def chunks(x, batch_size):
    """Consecutive chunks of `batch_size` samples; the last may be smaller."""
    return [x[start : start + batch_size] for start in range(0, len(x), batch_size)]


def ghost_batch_norm(x, weight, bias, batch_size, eps=1e-5):
    """arXiv 1705.08741: batch norm of each chunk of `batch_size` samples on its own."""
    return np.concatenate([batch_norm(chunk, weight, bias, eps) for chunk in chunks(x, batch_size)])


def frozen_batch_norm(x, weight, bias, running_mean, running_var, eps=1e-5):
    """arXiv 1502.03167, algorithm 2: batch norm with statistics that are given, and constant."""
    return affine(normalize_channels(x, running_mean, running_var, eps), weight, bias)


def domain_batch_norm(x, domains, weight, bias, statistics=None, eps=1e-5):
    """arXiv 1906.03950: batch norm of the samples of each domain on their own.

    domains: (N,) integers. weight, bias: (C,) where domains share them, else (D, C). statistics:
    (means, variances), each (D, C), or those of the batch.
    """
    y = np.empty_like(x)
    for n in range(len(x)):
        domain = domains[n]
        if statistics is None:
            same = np.array([x[m] for m in range(len(x)) if domains[m] == domain])
            mean, variance = channel_statistics(same)
        else:
            mean, variance = statistics[0][domain], statistics[1][domain]
        own_weight = weight[domain] if weight.ndim == 2 else weight
        own_bias = bias[domain] if bias.ndim == 2 else bias
        y[n : n + 1] = frozen_batch_norm(x[n : n + 1], own_weight, own_bias, mean, variance, eps)
    return y


def domain_running_statistics(batches, domains, domain_count, update_rate):
    """Moving averages, each (D, C), of each domain; a batch without a domain leaves it unmoved.

    domains: for each batch an (N,) array of integers below `domain_count`.
    """
    channels = batches[0].shape[1]
    means, variances = np.zeros((domain_count, channels)), np.ones((domain_count, channels))
    for domain in range(domain_count):
        own = [
            x[labels == domain]
            for x, labels in zip(batches, domains, strict=True)
            if domain in labels
        ]
        if own:
            means[domain], variances[domain] = running_statistics(own, update_rate)
    return means, variances


def unsupervised_batch_norm(labelled, unlabelled, weight, bias, eps=1e-5):
    """Kocyigit et al., CVPR Workshops 2020: the labelled batch, normalized by joint statistics.

    Mean and variance are those of the labelled and unlabelled values together, and are constants of
    the gradient. If there is no unlabelled batch (None), this is batch norm with its gradient.
    """
    if unlabelled is None:
        return batch_norm(labelled, weight, bias, eps)
    mean, variance = pooled_statistics([labelled, unlabelled])
    return frozen_batch_norm(labelled, weight, bias, mean, variance, eps)


def unsupervised_running_statistics(pairs, update_rate):
    """Moving averages of the statistics of joint batches, for pairs (labelled, unlabelled)."""
    return running_statistics([joined(pair) for pair in pairs], update_rate)


def softmax(logits):
    total = sum(exp(logit) for logit in logits)
    return [exp(logit) / total for logit in logits]


def switchable_norm(x, mean_logits, variance_logits, weight, bias, statistics=None, eps=1e-5):
    """arXiv 1806.10779: (x - sum_k w_k mean_k) / sqrt(sum_k w'_k variance_k + eps), then affine.

    k runs over in, ln, bn, in this order; w and w' are the softmax of `mean_logits` and of
    `variance_logits`, each (3,). All variances are biased, as in the paper; the authors' code takes
    the unbiased one for in, and with it for ln and bn.
    """
    y = np.empty_like(x)
    mean_weights, variance_weights = softmax(mean_logits), softmax(variance_logits)
    batch_mean, batch_variance = channel_statistics(x) if statistics is None else statistics
    for n, c in product(range(x.shape[0]), range(x.shape[1])):
        layer = mean_and_variance([v for channel in x[n] for v in channel])
        instance = mean_and_variance(list(x[n, c]))
        means = instance[0], layer[0], batch_mean[c]
        variances = instance[1], layer[1], batch_variance[c]
        mean = sum(w * m for w, m in zip(mean_weights, means, strict=True))
        variance = sum(w * v for w, v in zip(variance_weights, variances, strict=True))
        for s in range(x.shape[2]):
            y[n, c, s] = (x[n, c, s] - mean) / sqrt(variance + eps)
    return affine(y, weight, bias)


def evonorm_b0(x, gate_weight, weight, bias, batch_variance=None, eps=1e-5):
    """arXiv 2004.02967, EvoNorm-B0: x / max(batch_std, v x + instance_std) * weight + bias.

    v is `gate_weight` (C,); both variances are biased, eps under each root; `batch_variance`
    (C,) replaces the batch's own in evaluation. timm computes the same with eps 1e-3. Its running
    variance is the unbiased one (`running_statistics(...)[1]`); that of Google Research is biased
    (`correction=0`).
    """
    y = np.empty_like(x)
    if batch_variance is None:
        _, batch_variance = channel_statistics(x)
    for n, c, s in product(*map(range, x.shape)):
        _, instance_variance = mean_and_variance(list(x[n, c]))
        gated = gate_weight[c] * x[n, c, s] + sqrt(instance_variance + eps)
        y[n, c, s] = x[n, c, s] / max(sqrt(batch_variance[c] + eps), gated)
    return affine(y, weight, bias)
