"""Which images make up which batch: a pure function of seed and step."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Generator, Tensor


def mixed_seed(seed: int, *parts: int) -> int:
    """Return a seed in [0, 2^32) for one part of the work: one step, one chunk, one stream.

    Args:
        seed: of the run.
        parts: what the part is, each at least 0.
    """
    mixed = np.random.SeedSequence((abs(seed), int(seed < 0), *parts))
    return int(mixed.generate_state(1)[0])


def seeded_generator(seed: int, *parts: int) -> Generator:
    """Return a new generator on the CPU, seeded by :func:`mixed_seed`."""
    return torch.Generator().manual_seed(mixed_seed(seed, *parts))


def epoch_order(size: int, seed: int, epoch: int) -> Tensor:
    """Return a permutation of 0 ... `size` - 1, (size,) int64, given by the arguments alone."""
    return torch.randperm(size, generator=seeded_generator(seed, epoch))


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
