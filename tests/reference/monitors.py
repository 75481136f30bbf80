"""Measures of embeddings as loops over float64 numbers, written from their definitions."""

from math import exp, log, sqrt

import numpy as np


def _unit(row):
    length = sqrt(sum(value * value for value in row))
    return [value / length if length else 0.0 for value in row]


def _dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def positive_negative_cosine(online, target):
    """Mean cosine of rows i, i and of rows i, j with i != j, of two lists of N rows."""
    z, z_target = [_unit(row) for row in online], [_unit(row) for row in target]
    count = len(z)
    positive = sum(_dot(z[i], z_target[i]) for i in range(count)) / count
    foreign = [_dot(z[i], z_target[j]) for i in range(count) for j in range(count) if i != j]
    return positive, sum(foreign) / len(foreign)


def feature_std(embeddings):
    """Mean over features of the biased deviation of l2-normalized rows, times sqrt(D)."""
    z = [_unit(row) for row in embeddings]
    deviations = []
    for column in zip(*z, strict=True):
        mean = sum(column) / len(column)
        deviations.append(sqrt(sum((value - mean) ** 2 for value in column) / len(column)))
    return sum(deviations) / len(deviations) * sqrt(len(deviations))


def rank_me(embeddings, eps=1e-7):
    """arXiv 2210.02885, equations 1 and 2; singular values as roots of the eigenvalues of Z'Z."""
    z = np.array(embeddings)
    singular_values = [sqrt(max(value, 0.0)) for value in np.linalg.eigvalsh(z.T @ z)]
    shares = [value / sum(singular_values) + eps for value in singular_values]
    return exp(-sum(share * log(share) for share in shares))
