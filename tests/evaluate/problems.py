"""Small labelled problems."""

import torch
from torch import Tensor, nn

from ssl_norm.data.dataset import ImageSet


def blobs(
    count: int, features: int, classes: int, seed: int, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """Return overlapping Gaussian classes whose features have deviations over two decades."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, features, generator=torch.Generator().manual_seed(99))
    labels = torch.arange(count) % classes
    noise = torch.randn(count, features, generator=generator)
    scales = torch.logspace(0, -2, features)
    return ((0.7 * centres[labels] + noise) * scales).to(dtype), labels


def coloured_images(count: int, size: int, classes: int, seed: int) -> ImageSet:
    """Return noisy images of one colour per class."""
    generator = torch.Generator().manual_seed(seed)
    colours = torch.randint(60, 196, (classes, 3), generator=torch.Generator().manual_seed(7))
    labels = torch.arange(count) % classes
    noise = torch.randint(-40, 41, (count, size, size, 3), generator=generator)
    pixels = (colours[labels][:, None, None, :] + noise).clamp(0, 255).to(torch.uint8)
    return ImageSet(pixels, labels, tuple(f"colour{index}" for index in range(classes)))


def small_encoder(seed: int = 0) -> nn.Sequential:
    """Return a convolution with batch norm, pooled to 12 features."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
