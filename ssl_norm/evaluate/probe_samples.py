"""Subsets of the labels of a probe, and standardized features."""

import torch
from torch import Tensor

from ssl_norm.data.subsets import label_subset


def label_fraction(labels: Tensor, fraction: float, seed: int) -> Tensor:
    """Return the indices of a seeded fraction of every class, in ascending order.

    The choice is that of :func:`label_subset`, among the classes that have samples.

    Args:
        labels: (N,) integers from 0 of at least two classes, on the CPU.
        fraction: share of the labels of each class that is kept, in (0, 1], to the nearest sample.
        seed: seed of the choice.

    Raises:
        UserError: the fraction is outside (0, 1], a class would have no sample, or only one class
            occurs.
    """
    occurring = labels.bincount().nonzero()[:, 0]
    among_occurring = torch.searchsorted(occurring, labels)
    names = [str(label) for label in occurring.tolist()]
    return label_subset(among_occurring, fraction=fraction, seed=seed, classes=names)


def standardize(train: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """Return features (N, F), standardized by mean and standard deviation of the first, `train`.

    Statistics are computed in float64 with correction=0. A feature that varies by no more than the
    rounding of its dtype counts as constant, and is only centred.
    """
    variance, mean = torch.var_mean(train.double(), dim=0, correction=0)
    std = variance.sqrt()
    rounding = torch.finfo(train.dtype).eps * mean.abs()
    scale = torch.where(std > rounding, std, 1.0)
    mean, scale = mean.to(train.dtype), scale.to(train.dtype)
    return tuple((features - mean) / scale for features in (train, *others))
