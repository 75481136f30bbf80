"""Corruptions of images, as CIFAR-10-C has them.

Source: Hendrycks & Dietterich, arXiv 1903.12261, and the script that made CIFAR-10-C, see
:mod:`ssl_norm.data.corruption.registry`. What differs: results are rounded to the nearest of 256
levels, where that script cuts off the fraction, which darkens an image by half a level on average;
noise comes from torch's generator.

Every function takes (N, 3, H, W) uint8 on any device and returns new images likewise.
"""

import io

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor


def contrast(images: Tensor, factor: float, generator: Generator) -> Tensor:
    """Return images with less contrast: m + factor (x - m), m the mean of each image's channel.

    kornia and torchvision move all channels towards one grey mean instead.

    Args:
        images: (N, 3, H, W) uint8.
        factor: 1 changes nothing, 0 leaves the channel's mean alone.
        generator: not used.
    """
    pixels = images.float()
    means = pixels.mean((2, 3), keepdim=True)
    return _to_levels(torch.lerp(means, pixels, factor))


def gaussian_noise(images: Tensor, std: float, generator: Generator) -> Tensor:
    """Return images with normal noise, independent for every value.

    Args:
        images: (N, 3, H, W) uint8.
        std: standard deviation, of values in [0, 1].
        generator: on the CPU, where the noise is drawn, so that a seed means the same everywhere.
    """
    noise = torch.randn(images.shape, generator=generator).to(images.device)
    return _to_levels(images + 255 * std * noise)


def gaussian_blur(images: Tensor, sigma: float, generator: Generator) -> Tensor:
    """Return blurred images; the border is continued by its own pixels.

    By kornia, with the kernel cut off at four standard deviations, as scikit-image does for
    CIFAR-10-C: radius floor(4 sigma + 0.5).

    Args:
        images: (N, 3, H, W) uint8.
        sigma: standard deviation in pixels, above 0.
        generator: not used.
    """
    from kornia.filters import gaussian_blur2d  # takes a second to import

    size = 2 * int(4 * sigma + 0.5) + 1
    blurred: Tensor = gaussian_blur2d(images.float(), (size, size), (sigma, sigma), "replicate")
    return _to_levels(blurred)


def jpeg(images: Tensor, quality: float, generator: Generator) -> Tensor:
    """Return images as JPEG leaves them, encoded and decoded by Pillow, image by image.

    Pillow as for CIFAR-10-C: colour is stored at half the resolution (4:2:0). (torchvision's own
    encoder gives the same pixels, but is deprecated since 0.29.)

    Args:
        images: (N, 3, H, W) uint8.
        quality: 1 to 100.
        generator: not used.
    """
    decoded = np.empty((len(images), *images.shape[2:], 3), dtype=np.uint8)
    for number, pixels in enumerate(images.permute(0, 2, 3, 1).cpu().numpy()):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=int(quality))
        decoded[number] = Image.open(file)
    return torch.from_numpy(decoded).permute(0, 3, 1, 2).to(images.device)


def _to_levels(pixels: Tensor) -> Tensor:
    """Return the nearest of the 256 levels, uint8."""
    return pixels.round().clamp(0, 255).to(torch.uint8)
