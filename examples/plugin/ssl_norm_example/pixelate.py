"""Pixelation: images of fewer, larger pixels."""

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from ssl_norm.data.corruption.functions import strengths


@strengths(0.95, 0.9, 0.85, 0.75, 0.65)
def pixelate(images: Tensor, share: float, generator: Generator) -> Tensor:
    """Return images averaged to a share of their resolution, and enlarged again.

    Args:
        images: (N, 3, H, W) uint8.
        share: of height and width that is left.
        generator: not used.

    Source: Hendrycks & Dietterich, arXiv 1903.12261, with the strengths of CIFAR-10-C.
    """
    height, width = images.shape[2:]
    small = F.interpolate(images.float(), (int(height * share), int(width * share)), mode="area")
    return F.interpolate(small, (height, width)).round().to(torch.uint8)
