"""Faster convolutions in place of torch's, on the CPU."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from ssl_norm.train.convolution.taps import Taps, taps_of
from ssl_norm.train.convolution.winograd import Winograd, release_buffers

# The largest outputs, in pixels, for which products of taps are faster than oneDNN
# (results/speed.md). Up to four pixels most of the kernel meets padding, which they skip, on every
# processor; with more, gradients of weights are faster with AVX2 only.
_PIXELS = 4
_PIXELS_OF_GRADIENT = 64 if torch.backends.cpu.get_cpu_capability() == "AVX2" else _PIXELS
_WEIGHTS_PER_PIXEL = 1024  # least product of input and output channels for each pixel

_Library: Any = torch.library.Library  # torch has no types for it
_mkldnn: Any = torch.backends.mkldnn  # nor for all of this
_forward = torch.ops.aten.convolution.default
_backward = torch.ops.aten.convolution_backward.default
_TORCH = torch._C.DispatchKeySet(torch._C.DispatchKey.CompositeExplicitAutograd)


@contextmanager
def faster_convolutions() -> Iterator[None]:
    """Compute some convolutions as matrix products over all images, in all of torch, in the block.

    3x3 kernels of stride 1 with many channels are computed by :class:`Winograd`; others, if their
    output has few pixels, by :class:`Taps`. Only convolutions of float32 images in channels_last on
    the CPU are replaced, without groups and dilation, and only while torch computes products of
    float32 matrices in float32. Apart from that the shapes alone decide which, so runs repeat bit
    by bit. The results differ from oneDNN's by rounding.
    """
    library = _Library("aten", "IMPL", "CPU")
    try:
        library.impl("convolution", _convolution)
        library.impl("convolution_backward", _convolution_backward)
        yield
    finally:
        library._destroy()
        release_buffers()


def _convolution(images: Tensor, weight: Tensor, bias: Tensor | None, *geometry: Any) -> Tensor:
    """Return the output of aten::convolution."""
    way = _way_of(images, weight, geometry)
    if way is not None and bias is not None and bias.shape != weight.shape[:1]:
        way = None  # torch reports the error
    if way is None or not _is_for_images(way):
        output: Tensor = _forward.redispatch(_TORCH, images, weight, bias, *geometry)
        return output
    output = way.output(_nhwc(images), _nhwc(weight).contiguous())
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

    way = _way_of(images, weight, geometry)
    if way is None:
        return by_torch(*mask)
    of_output, of_images, of_weight = _nhwc(gradient).contiguous(), None, None
    if mask[0] and _is_for_images(way):
        kernel = _nhwc(weight).contiguous()
        of_images = way.gradient_of_images(of_output, kernel).permute(0, 3, 1, 2)
    elif mask[0]:
        of_images = by_torch(True, False, False)[0]
    if mask[1]:
        of_weight = way.gradient_of_weight(of_output, _nhwc(images)).permute(0, 3, 1, 2)
    return of_images, of_weight, of_output.sum((0, 1, 2)) if mask[2] else None


def _nhwc(tensor: Tensor) -> Tensor:
    return tensor.permute(0, 2, 3, 1)


def _is_for_images(way: Winograd | Taps) -> bool:
    """Return whether the forward pass and the gradient of images are replaced as well."""
    return isinstance(way, Winograd) or way.size[0] * way.size[1] <= _PIXELS


def _way_of(images: Tensor, weight: Tensor, geometry: Sequence[Any]) -> Winograd | Taps | None:
    """Return how a convolution is computed; None if oneDNN does."""
    stride, padding, dilation, transposed, _, groups = geometry
    if transposed or groups != 1 or weight.ndim != 4 or not _are_products_exact():
        return None
    if len(stride) != 2 or len(padding) != 2:  # one number for both axes, as of padding="valid"
        return None
    if weight.shape[1] == 1:  # contiguous images are in channels_last as well, torch's output not
        return None
    # Standardized weights are in another memory format, and are copied.
    fits = images.is_contiguous(memory_format=torch.channels_last)
    fits = fits and images.dtype == weight.dtype == torch.float32
    shapes = images.shape, weight.shape
    return _way(*shapes, tuple(stride), tuple(padding), tuple(dilation)) if fits else None


def _are_products_exact() -> bool:
    """Return whether a product of float32 matrices is computed in float32, as convolutions are.

    Under autocast it may be in bfloat16, and after `torch.set_float32_matmul_precision("medium")`
    as well. While torch.jit traces, it would become a part of the graph.
    """
    precision = _mkldnn.matmul.fp32_precision
    reduced = precision not in ("none", "ieee") or torch.is_autocast_enabled("cpu")
    return not (reduced or torch._C._is_tracing())


@lru_cache(maxsize=1024)
def _way(
    images: torch.Size,
    weight: torch.Size,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> Winograd | Taps | None:
    channels, kernel = weight[0] * weight[1], (weight[2], weight[3])
    if dilation != (1, 1) or kernel == (1, 1) or images[1] != weight[1]:
        return None
    if min(*images, *weight, *stride) < 1 or min(padding) < 0:
        return None
    sides = list(zip(images[2:], kernel, stride, padding, strict=True))
    height, width = (1 + (side + 2 * pad - kernel) // step for side, kernel, step, pad in sides)
    if min(height, width) < 1:
        return None
    pixels = height * width
    if kernel == (3, 3) and stride == (1, 1) and max(padding) <= 2 and pixels > _PIXELS:
        winograd = Winograd((height, width), padding)
        if winograd.is_worth(images[0], weight[0], weight[1]):
            return winograd
    if pixels > _PIXELS_OF_GRADIENT or channels < _WEIGHTS_PER_PIXEL * pixels:
        return None
    return taps_of((images[2], images[3]), (height, width), kernel, stride, padding)
