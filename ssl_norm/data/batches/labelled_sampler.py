"""Which labelled images make up which batch: pure functions of seed and step, without an end."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ssl_norm.data.batches.sampler import epoch_order, mixed_seed, seeded_generator

_CLASS_STREAM, _CHUNK_STREAM = 1, 2  # tell apart what one seed decides


class Passes:
    """An endless sequence of passes over `size` rows, each pass a new permutation.

    Args:
        size: N >= 1.
        seed: of the permutations.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed = size, seed
        self._latest = (-1, torch.empty(0, dtype=torch.int64))

    def take(self, first: int, count: int) -> Tensor:
        """Return what stands at `first` ... `first + count - 1`, (count >= 1,) int64 in [0, N)."""
        parts = []
        while count:
            number, offset = divmod(first, self.size)
            parts.append(self._permutation(number)[offset : offset + count])
            first, count = first + len(parts[-1]), count - len(parts[-1])
        return torch.cat(parts)

    def _permutation(self, number: int) -> Tensor:
        if self._latest[0] != number:
            self._latest = number, epoch_order(self.size, self.seed, number)
        return self._latest[1]


def uniform_order(size: int, batch_size: int, seed: int, start: int, stop: int) -> Iterator[Tensor]:
    """Yield the rows of the batches `start` ... `stop` - 1 of passes over `size` rows.

    A batch may run across passes: of four rows, a batch of six holds two rows twice.

    Yields:
        (batch_size,) int64 in [0, size).
    """
    passes = Passes(size, seed)
    for step in range(start, stop):
        yield passes.take(step * batch_size, batch_size)


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
    """Yield the rows of class-correlated batches `start` ... `stop` - 1.

    Each chunk draws its classes at random, all with the same chance and none twice, and takes
    the same number of images of each: the next of endless passes over that class. Within a chunk
    the classes alternate, so that a normalization batch smaller than a chunk holds them, too.

    Steps before `start` are drawn again, without their images, to know how far each class has come;
    that is some 50 microseconds a step.

    Args:
        labels: (N,) int64, on the CPU.
        batch_size: B, a multiple of `chunk`.
        chunk: images of a chunk, a multiple of `classes_per_chunk`.
        classes_per_chunk: at most the number of classes that occur in `labels`.
        shuffle: spread the images of all chunks at random over the batch. The batch holds the same
            images as without; which of them stand together differs.
        seed: of everything drawn.
        start: first step.
        stop: the step after the last.

    Yields:
        (B,) int64 in [0, N).
    """
    members = [rows for label in range(int(labels.max()) + 1) if len(rows := _rows(labels, label))]
    passes = [
        Passes(len(rows), mixed_seed(seed, _CLASS_STREAM, place))
        for place, rows in enumerate(members)
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


def _rows(labels: Tensor, label: int) -> Tensor:
    return (labels == label).nonzero()[:, 0]
