"""Pixels from uint8 to the learner's scale, and back."""

from collections.abc import Sequence

import torch
from torch import Tensor


def unit_pixels(images: Tensor) -> Tensor:
    """Return uint8 images (N, 3, H, W) of any memory format as contiguous float32 in [0, 1]."""
    return images.to(torch.float32, memory_format=torch.contiguous_format).mul_(1 / 255)


def normalise_(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Normalise each colour in place, and return the images.

    Args:
        images: (N, 3, H, W); altered.
        mean: three values on the images' scale.
        std: three values above 0.
    """
    for channel in range(3):
        images[:, channel].sub_(mean[channel]).mul_(1 / std[channel])
    return images


def denormalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return normalised images (N, 3, H, W) as float32 in [0, 1]."""
    scale = torch.tensor(list(std), device=images.device)[:, None, None]
    shift = torch.tensor(list(mean), device=images.device)[:, None, None]
    return (images.float() * scale + shift).clamp_(0, 1)
