"""Seeded subsets of labelled samples."""

import torch
from torch import Tensor

from ssl_norm.errors import UserError


def label_fraction(labels: Tensor, fraction: float, seed: int) -> Tensor:
    """Return the indices of a seeded fraction of every class, in ascending order.

    A smaller fraction under the same seed is a subset of a larger one.

    Args:
        labels: (N,) integers from 0, on the CPU.
        fraction: share of the labels to keep, in (0, 1]; each class keeps its share to the nearest
            sample.
        seed: selects the samples.

    Raises:
        UserError: the fraction is outside (0, 1], or leaves a class that has samples without any.
    """
    if not 0 < fraction <= 1:
        raise UserError(f"labels must be a fraction in (0, 1], got {fraction:g}")
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    shuffled = labels[order]
    drawn = []
    for label, size in enumerate(labels.bincount().tolist()):
        count = round(fraction * size)
        if size and not count:
            raise UserError(
                f"labels={fraction:g} leaves nothing of class {label} with its {size} samples; "
                f"use at least {1 / size:.2g}"
            )
        drawn.append(order[shuffled == label][:count])
    return torch.cat(drawn).sort().values
