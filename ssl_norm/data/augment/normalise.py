"""Pixels from uint8 to the learner's scale and back."""

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


_GAP = 2  # pixels around a pair of views


def view_grid(
    view1: Tensor,
    view2: Tensor,
    mean: Sequence[float],
    std: Sequence[float],
    rows: int = 8,
    columns: int = 4,
) -> Tensor:
    """Return the first pairs of views as one picture of what the learner sees.

    Args:
        view1: (N, 3, S, S) normalised, on the left of each pair.
        view2: (N, 3, S, S) normalised, on the right.
        mean: of the normalisation.
        std: of the normalisation.
        rows: largest number of rows of pairs.
        columns: largest number of pairs in a row.

    Returns:
        (3, height, width) uint8 on the CPU, white between the pairs; no more rows than N fills.
    """
    count = min(len(view1), rows * columns)
    columns = min(columns, count)
    rows = -(-count // columns)
    pairs = torch.cat((view1[:count], view2[:count]), 3)
    pixels = (denormalise(pairs, mean, std) * 255).round().byte().cpu()
    framed = torch.nn.functional.pad(pixels, (0, _GAP, 0, _GAP), value=255)
    _, _, height, width = framed.shape
    cells = framed.new_full((rows * columns, 3, height, width), 255)
    cells[:count] = framed
    table = cells.view(rows, columns, 3, height, width).permute(2, 0, 3, 1, 4)
    picture = table.reshape(3, rows * height, columns * width)
    return torch.nn.functional.pad(picture, (_GAP, 0, _GAP, 0), value=255)
