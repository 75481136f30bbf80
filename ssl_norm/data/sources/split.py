"""Seeded choices of images."""

import torch
from torch import Tensor


def stratified_split(labels: Tensor, test_fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return the indices of a training and a test part, each with its share of every class.

    Of n images of a class, `round(test_fraction * n)` are for the test part, but at least one and
    at most n - 1; a single image is for the training part.

    Args:
        labels: (N,) int64.
        test_fraction: in (0, 1).
        seed: chooses the images; a class's choice depends on the seed and on the classes before it.

    Returns:
        Training and test indices, each int64 and ascending; together they are 0 ... N - 1.
    """
    generator = torch.Generator().manual_seed(seed)
    is_test = torch.zeros(len(labels), dtype=torch.bool)
    for label in sorted(set(labels.tolist())):
        members = (labels == label).nonzero().squeeze(1)
        count = min(max(round(test_fraction * len(members)), 1), len(members) - 1)
        is_test[members[torch.randperm(len(members), generator=generator)[:count]]] = True
    return (~is_test).nonzero().squeeze(1), is_test.nonzero().squeeze(1)


def random_subset(size: int, count: int, seed: int) -> Tensor:
    """Return `count` of 0 ... `size` - 1, drawn by `seed`, as (count,) int64, ascending."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(size, generator=generator)[:count].sort().values
