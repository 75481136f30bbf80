"""Corruptions of images from CIFAR-10-C.

Strengths are those of the script that made CIFAR-10-C, for images of 32 pixels; on larger images,
blur and JPEG are weaker. There are two differences from that script: results are rounded to the
nearest of 256 levels (the script truncates them, which darkens an image by half a level on
average), and noise comes from torch's generator.

Source: Hendrycks & Dietterich, arXiv 1903.12261; github.com/hendrycks/robustness,
ImageNet-C/create_c/make_cifar_c.py at ca360085d57889288c4143fddd8a707bbcae01bd.
"""

import io
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor

Function = TypeVar("Function", bound=Callable[..., Tensor])


def strengths(*values: float) -> Callable[[Function], Function]:
    """Declare the strengths of a corruption at severities 1 to 5, as its attribute `strengths`.

    The function takes images (N, 3, H, W) uint8 on any device, a strength and a generator on the
    CPU, and returns new images of the same shape, type and device.
    """

    def declare(function: Function) -> Function:
        function.strengths = values  # type: ignore[attr-defined]
        return function

    return declare


@strengths(0.75, 0.5, 0.4, 0.3, 0.15)
def contrast(images: Tensor, factor: float, generator: Generator) -> Tensor:
    """Return images with less contrast: m + factor (x - m), with m the mean of each channel.

    kornia and torchvision use one grey mean for all channels instead.
    """
    pixels = images.float()
    means = pixels.mean((2, 3), keepdim=True)
    return _to_levels(torch.lerp(means, pixels, factor))


@strengths(0.04, 0.06, 0.08, 0.09, 0.10)
def gaussian_noise(images: Tensor, std: float, generator: Generator) -> Tensor:
    """Return images with independent normal noise, of a standard deviation for values in [0, 1]."""
    noise = torch.randn(images.shape, generator=generator).to(images.device)
    return _to_levels(images + 255 * std * noise)


@strengths(0.4, 0.6, 0.7, 0.8, 1.0)
def gaussian_blur(images: Tensor, sigma: float, generator: Generator) -> Tensor:
    """Return images blurred by kornia, with border pixels replicated.

    The kernel is cut off at four standard deviations (in pixels), with a radius of floor(4 sigma +
    0.5), as scikit-image does for CIFAR-10-C.
    """
    from kornia.filters import gaussian_blur2d  # takes a second to import

    size = 2 * int(4 * sigma + 0.5) + 1
    blurred: Tensor = gaussian_blur2d(images.float(), (size, size), (sigma, sigma), "replicate")
    return _to_levels(blurred)


@strengths(80, 65, 58, 50, 40)
def jpeg(images: Tensor, quality: float, generator: Generator) -> Tensor:
    """Return images encoded as JPEG and decoded again, by Pillow as for CIFAR-10-C.

    Colour is stored at half the resolution (4:2:0).
    """
    decoded = np.empty((len(images), *images.shape[2:], 3), dtype=np.uint8)
    for number, pixels in enumerate(images.permute(0, 2, 3, 1).cpu().numpy()):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=int(quality))
        decoded[number] = Image.open(file)
    return torch.from_numpy(decoded).permute(0, 3, 1, 2).to(images.device)


def _to_levels(pixels: Tensor) -> Tensor:
    return pixels.round().clamp(0, 255).to(torch.uint8)
