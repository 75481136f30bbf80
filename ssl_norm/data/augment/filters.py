"""Gaussian blur with a separate width for each image, and solarization."""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Generator, Tensor

from ssl_norm.data.augment.geometry import apply_separable
from ssl_norm.data.augment.parameters import Probability, Sigmas
from ssl_norm.data.augment.transform import Params, Share, sample_events, sample_uniform
from ssl_norm.distributed import on_device


def blur_kernel_size(size: int) -> int:
    """Return the size of a blur kernel: a tenth of the view, odd, at least 3 (arXiv 2002.05709)."""
    return max(3, size // 10 // 2 * 2 + 1)


def gaussian_blur(images: Tensor, sigmas: Tensor, kernel_size: int) -> Tensor:
    """Return images (N, C, S, S), contiguous, blurred with reflected borders, as torchvision does.

    The kernel is exp(-d^2 / (2 sigma^2)) for whole distances |d| <= kernel_size // 2, divided by
    its sum, along rows and along columns. `sigmas` are (N,) in pixels, above 0; `kernel_size` is
    odd, at most 2 S - 1.
    """
    size = images.shape[-1]
    radius = kernel_size // 2
    distances = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    kernels = torch.softmax(-0.5 * (distances / sigmas[:, None]).square(), 1)
    places = _reflected_places(size, kernel_size, images.device, images.dtype)
    matrices = (kernels @ places).view(-1, size, size)
    return apply_separable(images, matrices, matrices)


@lru_cache(maxsize=16)
def _reflected_places(
    size: int, kernel_size: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Return (kernel_size, size * size), 1 where an entry of the kernel meets a pixel."""
    radius = kernel_size // 2
    sources = torch.arange(-radius, radius + 1)[:, None] + torch.arange(size)
    sources = (size - 1) - (sources.abs() - (size - 1)).abs()
    places = torch.nn.functional.one_hot(sources, size).flatten(1)
    return on_device(places.to(dtype), device)


class GaussianBlur:
    """Transform by :func:`gaussian_blur` with the kernel of :func:`blur_kernel_size`.

    Args:
        probability: probability that an image is blurred.
        sigma: range of the standard deviation in pixels.
    """

    def __init__(self, *, probability: Probability = 0.5, sigma: Sigmas = (0.1, 2.0)) -> None:
        self.probability, self.sigma = probability, sigma

    def draw(self, share: Share, generator: Generator) -> Params:
        """Return the rows to blur and their standard deviations."""
        chosen = sample_events(share.total, self.probability, generator)[share.rows]
        low, high = self.sigma
        sigmas = sample_uniform(share.total, low, high, generator)[share.rows]
        return {"rows": chosen.nonzero()[:, 0], "sigmas": sigmas[chosen]}

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """Return the images, some blurred."""
        size = blur_kernel_size(images.shape[-1])
        return _at_rows(images, params["rows"], lambda x: gaussian_blur(x, params["sigmas"], size))


def solarize(images: Tensor, threshold: float) -> Tensor:
    """Return 1 - x where x >= threshold, and x elsewhere, for values in [0, 1]."""
    # |x - 1| or |x - 0|: on a CPU half the time of torch.where
    return (images - (images >= threshold).to(images.dtype)).abs_()


class Solarize:
    """Transform by :func:`solarize`.

    Args:
        probability: probability that an image is solarized.
        threshold: smallest value that is inverted, in [0, 1].
    """

    def __init__(self, *, probability: Probability = 0.5, threshold: Probability = 0.5) -> None:
        self.probability, self.threshold = probability, threshold

    def draw(self, share: Share, generator: Generator) -> Params:
        """Return the rows to solarize."""
        chosen = sample_events(share.total, self.probability, generator)[share.rows]
        return {"rows": chosen.nonzero()[:, 0]}

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """Return the images, some solarized."""
        return _at_rows(images, params["rows"], lambda x: solarize(x, self.threshold))


def _at_rows(images: Tensor, rows: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the images with those at `rows` changed; may overwrite its input."""
    if len(rows) == len(images):
        return change(images)
    if len(rows):
        images.index_copy_(0, rows, change(images.index_select(0, rows)))
    return images
