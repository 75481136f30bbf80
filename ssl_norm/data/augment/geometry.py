"""Random resized crop and horizontal flip, as linear maps of rows and columns."""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from ssl_norm.data.augment.transform import Params, Share, sample_events

TRIES = 10


def sample_boxes(
    n: int,
    height: int,
    width: int,
    area: Sequence[float],
    ratio: Sequence[float],
    generator: Generator,
) -> Tensor:
    """Return n random boxes in an image of height x width pixels with torchvision's distribution.

    The box's share of the area is uniform in `area`, (low, high) in (0, 1]; its ratio of width to
    height is log-uniform in `ratio`, (low, high) above 0; its place is uniform, in whole pixels.
    Ten sizes are drawn, and the first that fits the image is used. If none fits, the box is the
    largest central one with the ratio nearest to the image's.

    Returns:
        (n, 4) float32 whole numbers: top, left, height, width.

    Source: arXiv 1409.4842, section 6; the ten tries are torchvision's `RandomResizedCrop`.
    """
    draws = torch.rand(n, 2 * TRIES + 2, generator=generator)
    areas = height * width * (area[0] + (area[1] - area[0]) * draws[:, :TRIES])
    low, high = math.log(ratio[0]), math.log(ratio[1])
    ratios = (low + (high - low) * draws[:, TRIES : 2 * TRIES]).exp()
    widths = (areas * ratios).sqrt().round()
    heights = (areas / ratios).sqrt().round()
    fits = (widths >= 1) & (widths <= width) & (heights >= 1) & (heights <= height)
    first = fits.byte().argmax(1, keepdim=True)  # the first of equal values
    sizes = torch.cat((heights.gather(1, first), widths.gather(1, first)), 1)
    room = torch.tensor([float(height), float(width)]) - sizes
    # The product can round up to room + 1.
    corners = (draws[:, 2 * TRIES :] * (room + 1)).floor().minimum(room)
    boxes = torch.cat((corners, sizes), 1)
    return torch.where(fits.any(1, keepdim=True), boxes, _central_box(height, width, ratio))


def _central_box(height: int, width: int, ratio: Sequence[float]) -> Tensor:
    """Return (4,) top, left, height, width of the largest central box with a ratio in the range."""
    tall = max(1, round(width / ratio[0])) if width / height < ratio[0] else height
    wide = max(1, round(height * ratio[1])) if width / height > ratio[1] else width
    return torch.tensor([(height - tall) // 2, (width - wide) // 2, tall, wide]).float()


class CropResizeFlip:
    """Transform to a square view by :func:`sample_boxes`, flips and :func:`crop_resize`."""

    def __init__(
        self, size: int, area: Sequence[float], ratio: Sequence[float], flip: float
    ) -> None:
        self.size, self.area, self.ratio, self.flip = size, area, ratio, flip

    def draw(self, share: Share, generator: Generator) -> Params:
        """Return a box and a flip for every image of the share."""
        total, rows, height, width = share
        boxes = sample_boxes(total, height, width, self.area, self.ratio, generator)
        return {"boxes": boxes[rows], "flips": sample_events(total, self.flip, generator)[rows]}

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """Return the boxes, resized and flipped."""
        return crop_resize(images, params["boxes"], params["flips"], self.size)


def crop_resize(images: Tensor, boxes: Tensor, flips: Tensor, size: int) -> Tensor:
    """Return a box of each image as a square, bilinear and antialiased, flipped on request.

    The result equals that of torchvision's `resized_crop(..., antialias=True)` on float images, and
    of Pillow's bilinear resize, up to rounding. A pixel of the result is a weighted mean of the
    box's pixels. The weights form a triangle, whose half width is a pixel of the box or of the
    result, whichever is larger. kornia's RandomResizedCrop does not antialias, and agrees only if
    no box is larger than the result. BYOL's own crop is bicubic.

    The general form is a matrix product per axis. If the images are not larger than the result, a
    sampling grid gives the same values in half the time.

    Images are (N, 3, H, W) float, contiguous; boxes (N, 4) are whole pixels inside the image: top,
    left, height, width; flips are (N,) booleans. The result is (N, 3, S, S) with S = `size`.
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
    """Return the images' values (N, 3, S, S) at the crossings of (N, S) rows y and columns x.

    Positions are in pixels from the upper left corner: 0.5 is the centre of the first row.
    """
    height, width = images.shape[2:]
    shape = (*y.shape, x.shape[1])
    across = (x * (2 / width) - 1)[:, None, :].expand(shape)
    down = (y * (2 / height) - 1)[:, :, None].expand(shape)
    grid = torch.stack((across, down), 3)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def triangle_weights(centres: Tensor, start: Tensor, length: Tensor, extent: int) -> Tensor:
    """Return the weight (N, S, I) of every pixel of an axis in every pixel of the result.

    `centres` (N, S) are those of the result's pixels, in pixels from the edge of the image; the box
    begins at pixel `start` (N, 1) and has `length` (N, 1) of the axis' I = `extent` pixels.
    """
    half_width = (length / centres.shape[1]).clamp(min=1.0)[:, :, None]
    pixels = torch.arange(extent, device=centres.device, dtype=centres.dtype) + 0.5
    inside = (pixels > start) & (pixels < start + length)
    weights = (pixels - centres[:, :, None]).abs_().div_(half_width).neg_().add_(1).clamp_(min=0)
    weights *= inside[:, None, :]
    return weights.div_(weights.sum(2, keepdim=True))


def apply_separable(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return `rows @ image @ columns.T`, (N, C, H', W'), for every colour of every image.

    Images are (N, C, H, W), contiguous; each has a matrix of `rows` (H', H) and `columns` (W', W).
    """
    n, channels, height, width = images.shape
    narrowed = torch.bmm(images.reshape(n, channels * height, width), columns.transpose(1, 2))
    return torch.matmul(rows[:, None], narrowed.view(n, channels, height, columns.shape[1]))
