"""Drawn shapes in memory: squares, discs and crosses."""

from typing import Annotated

import torch
from annotated_types import Interval

from ssl_norm.data.dataset import ImageSet, Splits

CLASSES = ("square", "disc", "cross")


def load_shapes(
    *,
    image_size: Annotated[int, Interval(ge=8, le=8192)] = 16,
    images: Annotated[int, Interval(ge=8, le=10**6)] = 192,
    seed: int = 0,
) -> Splits:
    """Return bright shapes of random size on dark ground; a quarter is for testing.

    Args:
        image_size: side of the images in pixels.
        images: number of images.
        seed: seed of sizes, brightness and order.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(len(CLASSES), (images,), generator=generator)
    radius = 0.4 + 0.4 * torch.rand(images, 1, 1, generator=generator)
    line = torch.linspace(-1, 1, image_size)
    x, y = line.abs()[None, None, :], line.abs()[None, :, None]
    square, disc = torch.maximum(x, y) < radius, x.square() + y.square() < radius.square()
    cross = square & (torch.minimum(x, y) < radius / 3)
    drawn = torch.stack([square, disc, cross], dim=1)[torch.arange(images), labels]
    light = 120 + 120 * torch.rand(images, 1, 1, 3, generator=generator)
    pixels = torch.where(drawn[..., None], light, 40.0).to(torch.uint8)
    whole = ImageSet(pixels, labels, CLASSES)
    count = images - images // 4
    train, test = whole.subset(range(count)), whole.subset(range(count, images))
    return Splits(train, train, test)
