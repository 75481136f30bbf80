"""Samplers: the rows of each batch as a pure function of seed and step."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Generator, Tensor

_CLASS_STREAM, _CHUNK_STREAM = 1, 2  # parts of the seeds of independent draws


def mixed_seed(seed: int, *parts: int) -> int:
    """Return a seed in [0, 2^32) that depends on `seed` and `parts`, such as the step of a run."""
    mixed = np.random.SeedSequence((abs(seed), int(seed < 0), *parts))
    return int(mixed.generate_state(1)[0])


def seeded_generator(seed: int, *parts: int) -> Generator:
    """Return a new generator on the CPU, seeded by :func:`mixed_seed`."""
    return torch.Generator().manual_seed(mixed_seed(seed, *parts))


def epoch_order(size: int, seed: int, epoch: int) -> Tensor:
    """Return the permutation of 0 ... `size` - 1, (size,) int64, of an epoch."""
    return torch.randperm(size, generator=seeded_generator(seed, epoch))


class Passes:
    """Endless sequence of passes over `size` >= 1 rows; each pass is a new permutation."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed = size, seed
        self._latest = (-1, torch.empty(0, dtype=torch.int64))

    def take(self, first: int, count: int) -> Tensor:
        """Return the entries `first` ... `first + count - 1`, (count >= 1,) int64 in [0, N)."""
        parts = []
        while count:
            number, offset = divmod(first, self.size)
            if self._latest[0] != number:
                self._latest = number, epoch_order(self.size, self.seed, number)
            parts.append(self._latest[1][offset : offset + count])
            first, count = first + len(parts[-1]), count - len(parts[-1])
        return torch.cat(parts)


def grouped_order(
    labels: Tensor,
    batch_size: int,
    *,
    chunk: int,
    classes_per_chunk: int,
    shuffle: bool,
    seed: int,
    start: int,
    stop: int,
) -> Iterator[Tensor]:
    """Yield the rows, (B,) int64 in [0, N), of class-correlated batches `start` ... `stop` - 1.

    The classes of a chunk are drawn uniformly without replacement. A chunk takes the same number of
    images of each class: the next ones of endless passes over that class. Within a chunk the
    classes alternate, so that a normalization batch smaller than a chunk also has several classes.
    To know the position in each class, steps before `start` are drawn as well, at about 50 us each.

    Labels are (N,) int64, on the CPU. `batch_size` is a multiple of `chunk`, and `chunk` one of
    `classes_per_chunk`. With `shuffle`, the images of all chunks are spread over the batch.
    """
    members = [(labels == label).nonzero()[:, 0] for label in labels.bincount().nonzero()]
    passes = [
        Passes(len(of_class), mixed_seed(seed, _CLASS_STREAM, place))
        for place, of_class in enumerate(members)
    ]
    share = chunk // classes_per_chunk
    taken = [0] * len(members)
    for step in range(stop):
        generator = seeded_generator(seed, _CHUNK_STREAM, step)
        chances = torch.rand(batch_size // chunk, len(members), generator=generator)
        drawn = chances.argsort(1)[:, :classes_per_chunk].flatten().tolist()
        parts = []
        for place in drawn:
            if step >= start:
                parts.append(members[place][passes[place].take(taken[place], share)])
            taken[place] += share
        if step >= start:
            # (chunks, classes, share) -> (chunks, share, classes)
            order = torch.cat(parts).view(-1, classes_per_chunk, share).transpose(1, 2).flatten()
            yield order[torch.randperm(batch_size, generator=generator)] if shuffle else order
