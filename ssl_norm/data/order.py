"""Which images make up which batch: a pure function of seed and step."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor


def epoch_order(size: int, seed: int, epoch: int) -> Tensor:
    """Return a permutation of 0 ... `size` - 1, (size,) int64, given by the arguments alone."""
    mixed = int(np.random.SeedSequence((abs(seed), int(seed < 0), epoch)).generate_state(1)[0])
    return torch.randperm(size, generator=torch.Generator().manual_seed(mixed))


def epochs_of_steps(start: int, stop: int, steps_per_epoch: int) -> Iterator[tuple[int, range]]:
    """Yield each epoch that the steps `start` ... `stop` - 1 touch, and those steps counted in it.

    Example:
        >>> list(epochs_of_steps(2, 7, steps_per_epoch=3))
        [(0, range(2, 3)), (1, range(0, 3)), (2, range(0, 1))]
    """
    while start < stop:
        epoch, first = divmod(start, steps_per_epoch)
        last = min(steps_per_epoch, first + stop - start)
        yield epoch, range(first, last)
        start += last - first
