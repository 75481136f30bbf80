"""Batches of labelled and unlabelled images."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from ssl_norm.data.batches.sampler import Passes, grouped_order, mixed_seed, seeded_generator
from ssl_norm.data.corruption.dataset import corrupt_chunks
from ssl_norm.data.corruption.spec import Corruption
from ssl_norm.data.dataset import ImageSet, Resident, place_pixels
from ssl_norm.distributed import on_device
from ssl_norm.errors import UserError

_UNLABELLED_STREAM, _NOISE_STREAM = 3, 4  # parts of the seeds of independent draws


class LabelledBatch(NamedTuple):
    """One batch; images are channels last in memory."""

    images: Tensor  # (B, 3, H, W) uint8
    labels: Tensor  # (B,) int64
    unlabelled: Tensor | None  # (U, 3, H, W) uint8


class LabelledBatches:
    """Endless batches of labelled images, in an order that depends only on seed and step.

    Images are drawn in passes, each a new permutation. A batch may span passes, so a set may be
    smaller than a batch. Unlabelled images have separate passes, independent of the grouping.

    Args:
        labelled: N >= 1 images with labels.
        unlabelled: images whose labels are not used; None: `unlabelled_size` is 0.
        batch_size: number of labelled images of a batch.
        unlabelled_size: number of unlabelled images of a batch, a multiple of the domains.
        seed: seed of the order and of the noise of corruptions.
        device: device of the batches.
        chunk: size of class-correlated chunks, see :func:`grouped_order`; None: random order.
        classes_per_chunk: number of classes in a chunk, a divisor of `chunk`.
        shuffle: spread the images of all chunks over the batch.
        domains: D corruptions, None for clean images. The labelled and the unlabelled batch consist
            of D equal chunks each, one for each corruption in this order. Empty: all are clean.
        resident: see `place_pixels`.

    Raises:
        UserError: there are fewer classes than in a chunk, or chunks and domains.
    """

    def __init__(
        self,
        labelled: ImageSet,
        unlabelled: ImageSet | None,
        *,
        batch_size: int,
        unlabelled_size: int,
        seed: int,
        device: torch.device,
        chunk: int | None = None,
        classes_per_chunk: int = 1,
        shuffle: bool = False,
        domains: Sequence[Corruption | None] = (),
        resident: Resident = "auto",
    ) -> None:
        assert labelled.labels is not None
        self._labels = labelled.labels
        self._labelled = place_pixels(labelled, device, resident)
        self._size, self._unlabelled_size = batch_size, unlabelled_size
        self._passes = Passes(len(labelled), seed)
        self._grouped: Callable[..., Iterator[Tensor]] | None = None
        if chunk is not None and domains:
            raise UserError("grouping.chunk and domains exclude each other; leave one of them out")
        if chunk is not None:
            most = len(self._labels.bincount().nonzero())
            if classes_per_chunk > most:
                raise UserError(
                    f"grouping.classes={classes_per_chunk}: expected 1 to {most}, the number of "
                    "classes with labels"
                )
            grouped = partial(grouped_order, self._labels, batch_size, chunk=chunk, seed=seed)
            self._grouped = partial(grouped, classes_per_chunk=classes_per_chunk, shuffle=shuffle)
        if unlabelled is not None:
            self._unlabelled = place_pixels(unlabelled, device, resident)
            own_seed = mixed_seed(seed, _UNLABELLED_STREAM)
            self._unlabelled_passes = Passes(len(unlabelled), own_seed)
        self._seed, self._device, self._domains = seed, device, tuple(domains)

    def iterate(self, start: int, stop: int) -> Iterator[LabelledBatch]:
        """Yield the batches `start` ... `stop` - 1, on the device."""
        grouped = self._grouped and self._grouped(start=start, stop=stop)
        for step in range(start, stop):
            rows = next(grouped) if grouped else self._passes.take(step * self._size, self._size)
            noise = seeded_generator(self._seed, _NOISE_STREAM, step)
            images, unlabelled = self._corrupted(self._labelled, rows, noise), None
            if size := self._unlabelled_size:
                others = self._unlabelled_passes.take(step * size, size)
                unlabelled = self._corrupted(self._unlabelled, others, noise)
            labels = on_device(self._labels[rows], self._device)
            yield LabelledBatch(images, labels, unlabelled)

    def _corrupted(self, placed: ImageSet, rows: Tensor, noise: Generator) -> Tensor:
        """Return the images at `rows`, with chunk d corrupted by domain d."""
        pixels = placed.take(on_device(rows, placed.pixels.device))
        images = on_device(pixels, self._device).permute(0, 3, 1, 2)
        return corrupt_chunks(images, self._domains, noise)
