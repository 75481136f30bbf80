"""Linear maps that treat rows and columns apart: resizing and blurring are two of them."""

import torch
from torch import Tensor


def apply_separable(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return `rows @ image @ columns.T` for every colour of every image.

    Args:
        images: (N, C, H, W), contiguous.
        rows: (N, H', H), one matrix per image.
        columns: (N, W', W), one matrix per image.

    Returns:
        (N, C, H', W').
    """
    n, channels, height, width = images.shape
    narrowed = torch.bmm(images.reshape(n, channels * height, width), columns.transpose(1, 2))
    return torch.matmul(rows[:, None], narrowed.view(n, channels, height, columns.shape[1]))
