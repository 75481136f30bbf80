"""Occlusion: a grey square in the middle of an image."""

from torch import Generator, Tensor

from ssl_norm.data.corruption.functions import strengths


@strengths(0.2, 0.3, 0.4, 0.5, 0.6)
def occlude(images: Tensor, share: float, generator: Generator) -> Tensor:
    """Return images with a grey square in the middle.

    Args:
        images: (N, 3, H, W) uint8.
        share: share of height and width that the square covers.
        generator: not used.
    """
    height, width = images.shape[2:]
    y, x = round(height * (1 - share) / 2), round(width * (1 - share) / 2)
    changed = images.clone()
    changed[:, :, y : height - y, x : width - x] = 128
    return changed
