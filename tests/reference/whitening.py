"""Whitening norms, as loops over float64 arrays (N, C, S), written from their equations.

Channels fall into `groups` consecutive groups of d = C / groups; every sample at every position is
one vector of a group. Matrices of all groups: (groups, d, d).
"""

from itertools import product
from math import fsum, sqrt

import numpy as np

from tests.reference.norms import affine, channel_statistics


def group_covariances(x, groups):
    """Biased covariance (groups, d, d) of the channels of each group over samples and positions."""
    size = x.shape[1] // groups
    mean, _ = channel_statistics(x)
    covariances = np.empty((groups, size, size))
    for g, i, j in product(range(groups), range(size), range(size)):
        a, b = g * size + i, g * size + j
        products = [
            (x[n, a, s] - mean[a]) * (x[n, b, s] - mean[b])
            for n, s in product(range(x.shape[0]), range(x.shape[2]))
        ]
        covariances[g, i, j] = fsum(products) / len(products)
    return covariances


def with_eps(covariance, eps):
    """covariance + eps I."""
    sigma = covariance.copy()
    for i in range(len(sigma)):
        sigma[i, i] += eps
    return sigma


def zca_root(covariance, eps=1e-5):
    """arXiv 1804.08450: (covariance + eps I)^(-1/2) = sum_k u_k u_k^T / sqrt(eigenvalue_k)."""
    eigenvalues, vectors = np.linalg.eigh(with_eps(covariance, eps))
    root = np.zeros_like(covariance)
    for i, j, k in product(*[range(len(covariance))] * 3):
        root[i, j] += vectors[i, k] * vectors[j, k] / sqrt(eigenvalues[k])
    return root


def matrix_product(a, b):
    size = range(len(a))
    return np.array([[fsum(a[i, k] * b[k, j] for k in size) for j in size] for i in size])


def newton_root(covariance, iterations=5, eps=1e-5):
    """arXiv 1904.03441, algorithm 1: Newton's iterations towards the root of `zca_root`.

    sigma = covariance + eps I; P_0 = I; P_k = (3 P_(k-1) - P_(k-1)^3 sigma / trace(sigma)) / 2;
    result P_iterations / sqrt(trace(sigma)). More is not always nearer: rounding errors grow from
    step to step, the faster the larger the ratio of the eigenvalues.
    """
    sigma = with_eps(covariance, eps)
    trace = sum(sigma[i, i] for i in range(len(sigma)))
    power = np.eye(len(sigma))
    for _ in range(iterations):
        cube = matrix_product(matrix_product(power, power), power)
        power = 1.5 * power - 0.5 * matrix_product(cube, sigma / trace)
    return power / sqrt(trace)


def whiten(x, mean, matrices):
    """matrices[g] @ (x - mean) for the channels of each group g, at every sample and position."""
    y = np.empty_like(x)
    size = matrices.shape[1]
    for n, c, s in product(*map(range, x.shape)):
        g, i = divmod(c, size)
        members = range(g * size, (g + 1) * size)
        y[n, c, s] = fsum(matrices[g, i, m % size] * (x[n, m, s] - mean[m]) for m in members)
    return y


def _batch_norm_by(root, x, weight, bias, groups, statistics):
    if statistics is None:
        mean, _ = channel_statistics(x)
        matrices = np.array([root(covariance) for covariance in group_covariances(x, groups)])
        statistics = mean, matrices
    return affine(whiten(x, *statistics), weight, bias)


def decorrelated_batch_norm(x, weight, bias, groups=1, statistics=None, eps=1e-5):
    """arXiv 1804.08450, ZCA whitening; statistics: (mean (C,), matrices), or the batch's."""
    return _batch_norm_by(lambda c: zca_root(c, eps), x, weight, bias, groups, statistics)


def iter_norm(x, weight, bias, groups=1, iterations=5, statistics=None, eps=1e-5):
    """arXiv 1904.03441, whitening by Newton's iteration; statistics as in ZCA whitening."""
    return _batch_norm_by(
        lambda c: newton_root(c, iterations, eps), x, weight, bias, groups, statistics
    )
