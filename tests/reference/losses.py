"""Losses as loops over rows in NumPy float64, written from the papers' equations."""

import math

import numpy as np


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(sum(x * y for x, y in zip(a, b, strict=True))) / (
        math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(y * y for y in b))
    )


def regression_loss(prediction: np.ndarray, target: np.ndarray) -> float:
    """BYOL, equation 2, averaged over rows."""
    terms = [2 - 2 * cosine(p, t) for p, t in zip(prediction, target, strict=True)]
    return sum(terms) / len(terms)


def nt_xent(z1: np.ndarray, z2: np.ndarray, temperature: float) -> float:
    """SimCLR, equation 1, averaged over both orders of all positive pairs."""
    N = len(z1)
    views = {(image, view): z[image] for view, z in enumerate((z1, z2)) for image in range(N)}
    total = 0.0
    for anchor_index, anchor in views.items():
        image, view = anchor_index
        numerator = math.exp(cosine(anchor, views[image, 1 - view]) / temperature)
        denominator = sum(
            math.exp(cosine(anchor, other) / temperature)
            for other_index, other in views.items()
            if other_index != anchor_index
        )
        total += -math.log(numerator / denominator)
    return total / (2 * N)


def info_nce(queries: np.ndarray, keys: np.ndarray, queue: np.ndarray, temperature: float) -> float:
    """MoCo, equation 1, averaged over queries; candidates are the own key and the queue."""
    total = 0.0
    for query, key in zip(queries, keys, strict=True):
        positive = math.exp(cosine(query, key) / temperature)
        negatives = sum(math.exp(cosine(query, old) / temperature) for old in queue)
        total += -math.log(positive / (positive + negatives))
    return total / len(queries)
