"""Decoded images with labels, splits of a source, and placement of pixels."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ssl_norm.memory import free_host_bytes

Resident = Literal["auto"] | bool  # see `place_pixels`
_CHUNK = 4096  # images that are copied at a time, so that the host holds no copy of the whole set


@dataclass(frozen=True)
class ImageSet:
    """N decoded images of one size; a subset shares the `pixels` of its set."""

    pixels: Tensor  # (M, H, W, 3) uint8, M >= N; on the host or a GPU, or mapped read-only
    labels: Tensor | None = None  # (N,) int64, indices into `classes`; None: no labels
    classes: tuple[str, ...] = ()  # names of the classes
    skipped: tuple[str, ...] = ()  # paths of the files that did not decode
    rows: Tensor | None = None  # (N,) int64, rows of `pixels` that are in the set; None: all
    mapped: bool = False  # whether `pixels` are in a memory-mapped file

    def __len__(self) -> int:
        return len(self.pixels if self.rows is None else self.rows)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and 3."""
        return self.pixels.shape[1], self.pixels.shape[2], 3

    @property
    def images(self) -> Tensor:
        """All images, (N, H, W, 3) uint8; copied if this is a subset. Use `take` for large sets."""
        return self.pixels if self.rows is None else gather(self.pixels, self.rows)

    def take(self, index: Tensor, out: Tensor | None = None) -> Tensor:
        """Return the images at `index`, (B,) int64 in [0, N), as (B, H, W, 3) uint8.

        `index` is on the device of `pixels`; on a CPU, the result is written to `out` if given.
        """
        return gather(self.pixels, index if self.rows is None else self.rows[index], out)

    def subset(self, index: Tensor | Sequence[int]) -> "ImageSet":
        """Return the images at `index`, (B,) integers in [0, N), with labels and shared pixels."""
        index = torch.as_tensor(index, dtype=torch.int64)
        rows = index if self.rows is None else self.rows[index]
        labels = None if self.labels is None else self.labels[index]
        return replace(self, rows=rows, labels=labels)


@dataclass(frozen=True)
class Splits:
    """Images of a source."""

    pretrain: ImageSet  # images for pretraining; their labels are not used
    train: ImageSet | None = None  # labelled images for fitting a probe; None: no labels
    test: ImageSet | None = None  # labelled images for scoring a probe, in no other part
    notes: tuple[str, ...] = ()  # messages for the user: how images were read, which were left out

    @property
    def skipped(self) -> tuple[str, ...]:
        """Paths of all files that did not decode, sorted."""
        sets = (self.pretrain, self.train, self.test)
        return tuple(sorted({path for part in sets if part is not None for path in part.skipped}))


def gather(pixels: Tensor, rows: Tensor, out: Tensor | None = None) -> Tensor:
    """Return `pixels[rows]`, contiguous; on a CPU written to `out`, if given.

    On a CPU, NumPy copies with one thread. It does not hold the GIL, so that threads can prefetch,
    and does not use OpenMP, whose start takes longer than the copy of a small batch.
    """
    if pixels.device.type != "cpu":
        return pixels.index_select(0, rows)
    if out is None:
        out = torch.empty((len(rows), *pixels.shape[1:]), dtype=pixels.dtype)
    # mode="clip" writes directly to `out`; mode="raise" would use a buffer.
    np.take(pixels.numpy(), rows.numpy(), axis=0, out=out.numpy(), mode="clip")
    return out


def place_pixels(images: ImageSet, device: torch.device, resident: Resident) -> ImageSet:
    """Return a set with its pixels in the memory from which batches for a device are drawn.

    True: copy pixels to the GPU if they fit into half of its free memory, otherwise to host memory.
    `auto`: the same, but to host memory only if they fit into half of it. False: leave pixels where
    they are.
    """
    if resident is False:
        return images
    doubled = 2 * len(images) * images.pixels[0].numel()
    if device.type == "cuda" and doubled <= torch.cuda.mem_get_info(device)[0]:
        return _copied(images, device)
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if images.mapped and (resident is True or doubled <= free_host_bytes(processes)):
        return _copied(images, torch.device("cpu"))
    return images


def _copied(images: ImageSet, device: torch.device) -> ImageSet:
    pixels = torch.empty((len(images), *images.image_shape), dtype=torch.uint8, device=device)
    for index in torch.split(torch.arange(len(images)), _CHUNK):
        pixels[index[0] : index[-1] + 1] = images.take(index)
    return replace(images, pixels=pixels, rows=None, mapped=False)
