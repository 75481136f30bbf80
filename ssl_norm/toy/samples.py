"""Two moons and handwritten digits, with few labels."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Samples(NamedTuple):
    """Samples of C classes: points in the plane, or images."""

    labelled: Tensor  # (C K, 2) or (C K, 1, 8, 8) float32, K samples of each class in turn
    labels: Tensor  # (C K,) int64, below C
    unlabelled: Tensor  # (U, ...) float32
    truth: Tensor  # (U,) int64, the class of each unlabelled sample; never for training


def two_moons(labels_per_class: int, unlabelled: int, *, noise: float, seed: int) -> Samples:
    """Return scikit-learn's two moons, in which random points of each moon are labelled.

    `noise` is the standard deviation of the points around half circles of radius 1. Half of the
    unlabelled points are of each moon.

    Example:
        >>> moons = two_moons(3, 100, noise=0.1, seed=0)
        >>> moons.labels.tolist(), moons.unlabelled.shape
        ([0, 0, 0, 1, 1, 1], torch.Size([100, 2]))
    """
    from sklearn.datasets import make_moons  # takes a second to import

    first = labels_per_class + unlabelled // 2
    second = 2 * labels_per_class + unlabelled - first
    points, moon = make_moons((first, second), noise=noise, random_state=seed)
    return _with_labels(points, moon, labels_per_class, unlabelled)


def digits(labels_per_class: int, unlabelled: int, *, seed: int) -> Samples:
    """Return a random choice of scikit-learn's 1,797 scans of digits, with values in [0, 1].

    Example:
        >>> digits(2, 100, seed=0).labelled.shape
        torch.Size([20, 1, 8, 8])
    """
    from sklearn.datasets import load_digits

    scans = load_digits()
    order = np.random.default_rng(seed).permutation(len(scans.target))
    images = scans.images[order, None] / 16
    return _with_labels(images, scans.target[order], labels_per_class, unlabelled)


def _with_labels(
    inputs: NDArray[Any], classes: NDArray[Any], labels_per_class: int, unlabelled: int
) -> Samples:
    """Return the first samples of each class as labelled, and the next ones as unlabelled."""
    chosen = np.concatenate(
        [np.flatnonzero(classes == c)[:labels_per_class] for c in np.unique(classes)]
    )
    rest = np.setdiff1d(np.arange(len(classes)), chosen)[:unlabelled]
    samples, truth = torch.from_numpy(inputs).float(), torch.from_numpy(classes).long()
    return Samples(samples[chosen], truth[chosen], samples[rest], truth[rest])
