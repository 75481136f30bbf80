"""Batches of labelled images, perhaps with unlabelled ones."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import repeat
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from ssl_norm.data.batches.pixels import Placed, place_pixels
from ssl_norm.data.batches.sampler import (
    grouped_order,
    mixed_seed,
    seeded_generator,
    uniform_order,
)
from ssl_norm.data.corruption.dataset import corrupt_chunks
from ssl_norm.data.corruption.spec import Corruption
from ssl_norm.data.dataset import ImageSet, gather
from ssl_norm.distributed import on_device
from ssl_norm.errors import UserError

_UNLABELLED_STREAM, _NOISE_STREAM = 3, 4  # tell apart the draws of one seed


class LabelledBatch(NamedTuple):
    """One batch; the images are channels last in memory."""

    images: Tensor  # (B, 3, H, W) uint8
    labels: Tensor  # (B,) int64
    unlabelled: Tensor | None  # (U, 3, H, W) uint8


class LabelledBatches:
    """Endless batches of labelled images, in an order that depends only on seed and step.

    Images come in passes, each a new permutation; a batch may run across passes, so that a set may
    be smaller than a batch. Unlabelled images come in separate passes, whatever the grouping.

    Args:
        labelled: N images with labels.
        unlabelled: M images, whose labels are not used; None: there are none.
        batch_size: B, labelled images of a batch.
        unlabelled_size: U, unlabelled images of a batch; 0: none.
        seed: of the order and of the noise of corruptions.
        device: of the batches.
        chunk: images of a class-correlated chunk, see :func:`grouped_order`; None: uniform order.
        classes_per_chunk: classes in a chunk.
        shuffle: spread the images of all chunks over the batch.
        domains: D corruptions, None for clean images: the labelled and the unlabelled batch are
            each D equal chunks in this order, corrupted by their own. Empty: all images are clean.
        resident: `auto`, True or False, see `place_pixels`.

    Raises:
        UserError: labels or unlabelled images are missing, or sizes do not divide as they must.
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
        resident: bool | str = "auto",
    ) -> None:
        self._labels = _labels_of(labelled)
        _check_sizes(batch_size, unlabelled_size, len(domains))
        _check_grouping(self._labels, batch_size, chunk, classes_per_chunk, shuffle)
        if chunk is not None and domains:
            raise UserError("grouping.chunk and domains exclude each other; leave one of them out")
        self._labelled = place_pixels(labelled, device, resident)
        self._order: Callable[..., Iterator[Tensor]]
        if chunk is None:
            self._order = partial(uniform_order, len(self._labels), batch_size, seed)
        else:
            grouped = partial(grouped_order, self._labels, batch_size, chunk=chunk, seed=seed)
            self._order = partial(grouped, classes_per_chunk=classes_per_chunk, shuffle=shuffle)
        self._unlabelled = None
        if unlabelled_size:
            self._unlabelled = place_pixels(_some(unlabelled), device, resident)
            own_seed = mixed_seed(seed, _UNLABELLED_STREAM)
            count = len(self._unlabelled.rows)
            self._unlabelled_order = partial(uniform_order, count, unlabelled_size, own_seed)
        self._seed, self._device, self._domains = seed, device, tuple(domains)

    def iterate(self, start: int, stop: int) -> Iterator[LabelledBatch]:
        """Yield the batches `start` ... `stop` - 1, on the device."""
        unlabelled_order: Iterator[Tensor | None] = repeat(None)
        if self._unlabelled is not None:
            unlabelled_order = self._unlabelled_order(start=start, stop=stop)
        orders = zip(self._order(start=start, stop=stop), unlabelled_order, strict=False)
        for step, (rows, unlabelled_rows) in enumerate(orders, start):
            noise = seeded_generator(self._seed, _NOISE_STREAM, step)
            images = self._images(self._labelled, rows, noise)
            unlabelled = None
            if self._unlabelled is not None and unlabelled_rows is not None:
                unlabelled = self._images(self._unlabelled, unlabelled_rows, noise)
            labels = on_device(self._labels[rows], self._device)
            yield LabelledBatch(images, labels, unlabelled)

    def _images(self, placed: Placed, rows: Tensor, noise: Generator) -> Tensor:
        """Return the images at `rows`, chunk d of them corrupted by domain d."""
        pixels = gather(placed.pixels, placed.rows[on_device(rows, placed.rows.device)])
        images = on_device(pixels, self._device).permute(0, 3, 1, 2)
        return corrupt_chunks(images, self._domains, noise)


def _labels_of(labelled: ImageSet) -> Tensor:
    if labelled.labels is None:
        raise UserError("the images have no labels; put them into one folder per class")
    if not len(labelled):
        raise UserError("there are no labelled images; raise labels or labels_per_class")
    return labelled.labels


def _some(unlabelled: ImageSet | None) -> ImageSet:
    if unlabelled is None or not len(unlabelled):
        raise UserError(
            "there are no unlabelled images: all are labelled; lower labels or labels_per_class, "
            "or choose a norm that needs none"
        )
    return unlabelled


def _check_sizes(batch_size: int, unlabelled_size: int, domains: int) -> None:
    of_unlabelled = f"{unlabelled_size} unlabelled images of a batch"
    if batch_size < 1:
        raise UserError(f"batch_size={batch_size}: an integer of at least 1 expected")
    if unlabelled_size < 0:
        raise UserError(f"{of_unlabelled}: expected 0 or more; raise ubn.ratio")
    for found, size in ((f"batch_size={batch_size}", batch_size), (of_unlabelled, unlabelled_size)):
        if domains and size % domains:
            raise UserError(f"{found}: a multiple of the {domains} domains expected")


def _check_grouping(
    labels: Tensor, batch_size: int, chunk: int | None, classes: int, shuffle: bool
) -> None:
    if chunk is None:
        if shuffle or classes != 1:
            found = "grouping.shuffle=true" if shuffle else f"grouping.classes={classes}"
            raise UserError(f"{found} needs grouping.chunk, the images of a chunk")
        return
    if chunk < 1 or batch_size % chunk:
        raise UserError(f"batch_size={batch_size}: a multiple of grouping.chunk={chunk} expected")
    most = len(labels.bincount().nonzero())
    if not 1 <= classes <= most:
        raise UserError(
            f"grouping.classes={classes}: expected 1 to {most}, the number of classes with labels"
        )
    if chunk % classes:
        raise UserError(
            f"grouping.chunk={chunk}: a multiple of grouping.classes={classes} expected"
        )
