"""Convolutions with small outputs as matrix products, on the CPU."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

# The largest outputs, in pixels, for which products are faster than oneDNN (results/speed.md). Up
# to four pixels most of the kernel meets padding, which products skip, on every processor; with
# more, gradients of weights were measured with AVX2 only.
_PIXELS = 4
_PIXELS_OF_GRADIENT = 64 if torch.backends.cpu.get_cpu_capability() == "AVX2" else _PIXELS
_WEIGHTS_PER_PIXEL = 1024  # least product of input and output channels for each pixel

_Library: Any = torch.library.Library  # torch has no types for it
_forward = torch.ops.aten.convolution.default
_backward = torch.ops.aten.convolution_backward.default
_TORCH = torch._C.DispatchKeySet(torch._C.DispatchKey.CompositeExplicitAutograd)

_Part = tuple[slice, slice, slice]  # images, rows, columns


class _Tap(NamedTuple):
    """An element of the kernel, and the pixels of input and output that it connects."""

    row: int
    column: int
    input: _Part
    output: _Part


class _Plan(NamedTuple):
    """The products of a convolution."""

    size: tuple[int, int]  # of the output
    taps: tuple[_Tap, ...]

    @property
    def pixels(self) -> int:
        """Pixels of the output."""
        return self.size[0] * self.size[1]


@contextmanager
def convolutions_by_products() -> Iterator[None]:
    """Compute convolutions with small outputs as matrix products in all of torch inside the block.

    A convolution is a sum over the elements of its kernel, each of which is one matrix product over
    all images. For outputs of few pixels and many channels this is faster than oneDNN, which
    multiplies by the zeros of the padding, too, and computes the gradients of weights image by
    image. Only convolutions of float32 images in channels_last on the CPU are replaced, without
    groups and dilation. The shapes alone decide which, so runs repeat bit by bit. The results
    differ from oneDNN's by rounding.
    """
    library = _Library("aten", "IMPL", "CPU")
    try:
        library.impl("convolution", _convolution)
        library.impl("convolution_backward", _convolution_backward)
        yield
    finally:
        library._destroy()


def _convolution(images: Tensor, weight: Tensor, bias: Tensor | None, *geometry: Any) -> Tensor:
    """Return the output of aten::convolution."""
    plan = _plan_of(images, weight, geometry)
    if plan is None or plan.pixels > _PIXELS:
        output: Tensor = _forward.redispatch(_TORCH, images, weight, bias, *geometry)
        return output
    pixels, kernel = _nhwc(images), _nhwc(weight)
    output = images.new_zeros(len(images), *plan.size, len(weight))
    for tap in plan.taps:
        part = output[tap.output]
        part += (_rows(pixels[tap.input]) @ kernel[:, tap.row, tap.column].T).view_as(part)
    if bias is not None:
        output += bias
    return output.permute(0, 3, 1, 2)


def _convolution_backward(
    gradient: Tensor,
    images: Tensor,
    weight: Tensor,
    bias_sizes: Sequence[int] | None,
    *geometry_and_mask: Any,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return the gradients of images, weight and bias, as aten::convolution_backward does."""
    *geometry, mask = geometry_and_mask

    def by_torch(*needed: bool) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        given = gradient, images, weight, bias_sizes, *geometry, needed
        found: tuple[Tensor | None, Tensor | None, Tensor | None]
        found = _backward.redispatch(_TORCH, *given)
        return found

    plan = _plan_of(images, weight, geometry)
    if plan is None:
        return by_torch(*mask)
    of_output, of_images = _nhwc(gradient.contiguous(memory_format=torch.channels_last)), None
    if mask[0] and plan.pixels <= _PIXELS:
        of_images = _gradient_of_images(plan, of_output, images, weight)
    elif mask[0]:
        of_images = by_torch(True, False, False)[0]
    of_weight = _gradient_of_weight(plan, of_output, images, weight) if mask[1] else None
    return of_images, of_weight, of_output.sum((0, 1, 2)) if mask[2] else None


def _gradient_of_images(plan: _Plan, of_output: Tensor, images: Tensor, weight: Tensor) -> Tensor:
    kernel, found = _nhwc(weight), torch.zeros_like(_nhwc(images))
    for tap in plan.taps:
        part = found[tap.input]
        part += (_rows(of_output[tap.output]) @ kernel[:, tap.row, tap.column]).view_as(part)
    return found.permute(0, 3, 1, 2)


def _gradient_of_weight(plan: _Plan, of_output: Tensor, images: Tensor, weight: Tensor) -> Tensor:
    pixels, found = _nhwc(images), torch.zeros_like(_nhwc(weight))
    for tap in plan.taps:
        factors = _rows(of_output[tap.output]).T, _rows(pixels[tap.input])
        torch.mm(*factors, out=found[:, tap.row, tap.column])
    return found.permute(0, 3, 1, 2)


def _nhwc(tensor: Tensor) -> Tensor:
    return tensor.permute(0, 2, 3, 1)


def _rows(pixels: Tensor) -> Tensor:
    """Return pixels (N, H, W, C) as (N H W, C)."""
    return pixels.flatten(0, 2)


def _plan_of(images: Tensor, weight: Tensor, geometry: Sequence[Any]) -> _Plan | None:
    """Return the products that replace a convolution; None if oneDNN computes it."""
    stride, padding, dilation, transposed, _, groups = geometry
    if transposed or groups > 1 or weight.ndim != 4:
        return None
    fits = all(
        tensor.dtype == torch.float32 and tensor.is_contiguous(memory_format=torch.channels_last)
        for tensor in (images, weight)
    )
    shapes = images.shape, weight.shape
    return _plan(*shapes, tuple(stride), tuple(padding), tuple(dilation)) if fits else None


@lru_cache(maxsize=1024)
def _plan(
    images: torch.Size,
    weight: torch.Size,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> _Plan | None:
    if dilation != (1, 1) or weight[2] * weight[3] == 1 or images[1] != weight[1]:
        return None
    sides = list(zip(images[2:], weight[2:], stride, padding, strict=True))
    height, width = (1 + (side + 2 * pad - kernel) // step for side, kernel, step, pad in sides)
    small = height * width <= _PIXELS_OF_GRADIENT
    worth = weight[0] * weight[1] >= _WEIGHTS_PER_PIXEL * height * width
    if min(height, width) < 1 or not small or not worth:
        return None
    rows, columns = (
        list(_meetings(size, *side)) for size, side in zip((height, width), sides, strict=True)
    )
    every = slice(None)
    taps = tuple(
        _Tap(row, column, (every, y_in, x_in), (every, y_out, x_out))
        for row, y_in, y_out in rows
        for column, x_in, x_out in columns
    )
    return _Plan((height, width), taps)


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
