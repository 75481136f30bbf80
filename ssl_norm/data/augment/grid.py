"""A picture of what the learner sees."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ssl_norm.data.augment.normalise import denormalise

GAP = 2  # pixels around a pair


def view_grid(
    view1: Tensor,
    view2: Tensor,
    mean: Sequence[float],
    std: Sequence[float],
    rows: int = 8,
    columns: int = 4,
) -> Tensor:
    """Return the first pairs of views as one picture, the two of a pair side by side.

    Args:
        view1: (N, 3, S, S) normalised.
        view2: (N, 3, S, S) normalised.
        mean: that was subtracted.
        std: that was divided by.
        rows: pairs below each other, at most.
        columns: pairs beside each other, at most.

    Returns:
        (3, height, width) uint8 on the CPU, white between the pairs; no more rows than N fills.
    """
    count = min(len(view1), rows * columns)
    columns = min(columns, count)
    rows = -(-count // columns)
    pairs = torch.cat((view1[:count], view2[:count]), 3)
    pixels = (denormalise(pairs, mean, std) * 255).round().byte().cpu()
    framed = torch.nn.functional.pad(pixels, (0, GAP, 0, GAP), value=255)
    _, _, height, width = framed.shape
    cells = framed.new_full((rows * columns, 3, height, width), 255)
    cells[:count] = framed
    table = cells.view(rows, columns, 3, height, width).permute(2, 0, 3, 1, 4)
    picture = table.reshape(3, rows * height, columns * width)
    return torch.nn.functional.pad(picture, (GAP, 0, GAP, 0), value=255)
