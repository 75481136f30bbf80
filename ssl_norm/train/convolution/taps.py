"""Convolutions as one matrix product for each element of the kernel."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

_Part = tuple[slice, slice, slice]  # images, rows, columns
_Pair = tuple[int, int]  # along both axes


class _Tap(NamedTuple):
    """An element of the kernel, and the pixels of input and output that it connects."""

    row: int
    column: int
    input: _Part
    output: _Part


class Taps(NamedTuple):
    """A convolution as products over all images, which skip the zeros of the padding.

    Images are (N, H, W, channels) and weights (channels out, height, width, channels in), all
    contiguous.
    """

    images: _Pair  # height and width
    size: _Pair  # of the output
    kernel: _Pair
    taps: tuple[_Tap, ...]

    def output(self, images: Tensor, weight: Tensor) -> Tensor:
        """Return the output of the forward pass."""
        found = images.new_zeros(len(images), *self.size, len(weight))
        for tap in self.taps:
            part = found[tap.output]
            part += (_rows(images[tap.input]) @ weight[:, tap.row, tap.column].T).view_as(part)
        return found

    def gradient_of_images(self, gradient: Tensor, weight: Tensor) -> Tensor:
        """Return the gradient of the images."""
        found = gradient.new_zeros(len(gradient), *self.images, weight.shape[-1])
        for tap in self.taps:
            part = found[tap.input]
            part += (_rows(gradient[tap.output]) @ weight[:, tap.row, tap.column]).view_as(part)
        return found

    def gradient_of_weight(self, gradient: Tensor, images: Tensor) -> Tensor:
        """Return the gradient of the weight."""
        found = images.new_zeros(gradient.shape[-1], *self.kernel, images.shape[-1])
        for tap in self.taps:
            factors = _rows(gradient[tap.output]).T, _rows(images[tap.input])
            torch.mm(*factors, out=found[:, tap.row, tap.column])
        return found


def taps_of(images: _Pair, size: _Pair, kernel: _Pair, stride: _Pair, padding: _Pair) -> Taps:
    """Return the products of a convolution for height and width of its images and its output."""
    axes = size, images, kernel, stride, padding
    rows, columns = (list(_meetings(*axis)) for axis in zip(*axes, strict=True))
    every = slice(None)
    taps = (
        _Tap(row, column, (every, y_in, x_in), (every, y_out, x_out))
        for row, y_in, y_out in rows
        for column, x_in, x_out in columns
    )
    return Taps(images, size, kernel, tuple(taps))


def _rows(pixels: Tensor) -> Tensor:
    """Return pixels (N, H, W, C) as (N H W, C)."""
    return pixels.flatten(0, 2)


def _meetings(
    size: int, side: int, kernel: int, stride: int, padding: int
) -> Iterator[tuple[int, slice, slice]]:
    """Yield the elements of a kernel along an axis that meet the input, and where.

    Output o and element k meet input o * stride + k - padding.
    """
    for element in range(kernel):
        first = max(0, -((element - padding) // stride))
        last = min(size - 1, (side - 1 + padding - element) // stride)
        if first <= last:
            start, count = first * stride + element - padding, last - first
            yield (
                element,
                slice(start, start + count * stride + 1, stride),
                slice(first, last + 1),
            )
