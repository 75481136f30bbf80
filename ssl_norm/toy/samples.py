"""Two moons with few labels."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Moons(NamedTuple):
    """Points of two moons."""

    labelled: Tensor  # (2 K, 2) float32, K points of each moon
    labels: Tensor  # (2 K,) int64, 0 or 1
    unlabelled: Tensor  # (U, 2) float32, half of them of each moon
    truth: Tensor  # (U,) int64, the moon of each unlabelled point; never for training


def two_moons(labels_per_class: int, unlabelled: int, *, noise: float, seed: int) -> Moons:
    """Return scikit-learn's two moons with random points of each as the labelled ones.

    Args:
        labels_per_class: labelled points of each moon, at least 1.
        unlabelled: points without a label, at least 1.
        noise: standard deviation of the points around half circles of radius 1.
        seed: of all points, from 0 to 2^32 - 1.

    Source: `sklearn.datasets.make_moons`.

    Example:
        >>> moons = two_moons(3, 100, noise=0.1, seed=0)
        >>> moons.labels.tolist(), moons.unlabelled.shape
        ([0, 0, 0, 1, 1, 1], torch.Size([100, 2]))
    """
    from sklearn.datasets import make_moons  # takes a second to import

    first = labels_per_class + unlabelled // 2
    second = 2 * labels_per_class + unlabelled - first
    points, moon = make_moons((first, second), noise=noise, random_state=seed)
    chosen = np.concatenate([np.flatnonzero(moon == c)[:labels_per_class] for c in (0, 1)])
    rest = np.setdiff1d(np.arange(len(moon)), chosen)
    coordinates, truth = torch.from_numpy(points).float(), torch.from_numpy(moon).long()
    return Moons(coordinates[chosen], truth[chosen], coordinates[rest], truth[rest])
