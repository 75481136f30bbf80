"""One box of each image, resized and perhaps flipped."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_norm.data.augment.separable import apply_separable


def crop_resize(images: Tensor, boxes: Tensor, flips: Tensor, size: int) -> Tensor:
    """Return a box of each image as a square, bilinear and antialiased, flipped where asked.

    Equals torchvision's `resized_crop(..., antialias=True)` on float images and Pillow's bilinear
    resize up to rounding: a pixel of the result is the mean of the box's pixels under a triangle
    whose half width is one pixel of the box or of the result, whichever is wider, and nothing
    outside the box is seen. kornia's RandomResizedCrop does not antialias; the two agree where no
    box is larger than the result. BYOL's own crop is bicubic.

    Where the images are not larger than the result, no box can shrink, and a sampling grid gives
    the same values in half the time of the general form, which is a matrix product per axis.

    Args:
        images: (N, 3, H, W) float, contiguous.
        boxes: (N, 4) whole pixels inside the image: top, left, height, width; floating point.
        flips: (N,) boolean, left to right.
        size: side S of the result.

    Returns:
        (N, 3, S, S).
    """
    top, left, height, width = boxes[:, :, None].unbind(1)
    fractions = (torch.arange(size, device=images.device, dtype=images.dtype) + 0.5) / size
    y = top + fractions * height
    x = left + torch.where(flips[:, None], 1 - fractions, fractions) * width
    if max(images.shape[2:]) <= size:
        y = y.clamp(top + 0.5, top + height - 0.5)
        x = x.clamp(left + 0.5, left + width - 0.5)
        return sample_bilinear(images, y, x)
    rows = triangle_weights(y, top, height, images.shape[2])
    columns = triangle_weights(x, left, width, images.shape[3])
    return apply_separable(images, rows, columns)


def sample_bilinear(images: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Return the images' values at the crossings of rows y and columns x.

    Args:
        images: (N, 3, H, W).
        y: (N, S) in pixels from the upper edge, so that 0.5 is the centre of the first row.
        x: (N, S) in pixels from the left edge.

    Returns:
        (N, 3, S, S).
    """
    height, width = images.shape[2:]
    shape = (*y.shape, x.shape[1])
    across = (x * (2 / width) - 1)[:, None, :].expand(shape)
    down = (y * (2 / height) - 1)[:, :, None].expand(shape)
    grid = torch.stack((across, down), 3)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def triangle_weights(centres: Tensor, start: Tensor, length: Tensor, extent: int) -> Tensor:
    """Return the weight of every pixel of an axis in every pixel of the result.

    Args:
        centres: (N, S) where the result's pixels lie, in pixels from the edge.
        start: (N, 1) first pixel of the box.
        length: (N, 1) pixels of the box.
        extent: pixels I of the whole axis.

    Returns:
        (N, S, I), non-negative; every row sums to 1.
    """
    half_width = (length / centres.shape[1]).clamp(min=1.0)[:, :, None]
    pixels = torch.arange(extent, device=centres.device, dtype=centres.dtype) + 0.5
    inside = (pixels > start) & (pixels < start + length)
    weights = (pixels - centres[:, :, None]).abs_().div_(half_width).neg_().add_(1).clamp_(min=0)
    weights *= inside[:, None, :]
    return weights.div_(weights.sum(2, keepdim=True))
