"""Random resized crop and horizontal flip, in one sampling step."""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from ssl_norm.data.augment.random_draws import sample_events
from ssl_norm.data.augment.resize import crop_resize
from ssl_norm.data.augment.transform import Drawn, Share

TRIES = 10


def sample_boxes(
    n: int,
    height: int,
    width: int,
    area: Sequence[float],
    ratio: Sequence[float],
    generator: Generator,
) -> Tensor:
    """Return n random boxes with torchvision's distribution.

    A box has an area share uniform in `area`, a ratio of width to height log-uniform in `ratio`,
    whole pixels, and a uniform place. The first of ten tries that fits the image counts; if none
    does, the largest central box whose ratio is nearest to the image's.

    Args:
        n: number of boxes.
        height: of the image, in pixels.
        width: of the image, in pixels.
        area: (low, high) in (0, 1].
        ratio: (low, high), above 0.
        generator: of the CPU.

    Returns:
        (n, 4) float32 whole numbers: top, left, height, width.

    Source: Szegedy et al., arXiv 1409.4842, section 6; the ten tries are torchvision's
    `RandomResizedCrop`.
    """
    draws = torch.rand(n, 2 * TRIES + 2, generator=generator)
    areas = height * width * (area[0] + (area[1] - area[0]) * draws[:, :TRIES])
    low, high = math.log(ratio[0]), math.log(ratio[1])
    ratios = (low + (high - low) * draws[:, TRIES : 2 * TRIES]).exp()
    widths = (areas * ratios).sqrt().round()
    heights = (areas / ratios).sqrt().round()
    fits = (widths >= 1) & (widths <= width) & (heights >= 1) & (heights <= height)
    first = fits.byte().argmax(1, keepdim=True)  # of equal values, the first
    sizes = torch.cat((heights.gather(1, first), widths.gather(1, first)), 1)
    room = torch.tensor([float(height), float(width)]) - sizes
    # The product can round up to room + 1.
    corners = (draws[:, 2 * TRIES :] * (room + 1)).floor().minimum(room)
    boxes = torch.cat((corners, sizes), 1)
    return torch.where(fits.any(1, keepdim=True), boxes, central_box(height, width, ratio))


def central_box(height: int, width: int, ratio: Sequence[float]) -> Tensor:
    """Return (4,) top, left, height, width of the largest central box with a ratio in the range."""
    if width / height < ratio[0]:
        box_height, box_width = round(width / ratio[0]), width
    elif width / height > ratio[1]:
        box_height, box_width = height, round(height * ratio[1])
    else:
        box_height, box_width = height, width
    top, left = (height - box_height) // 2, (width - box_width) // 2
    return torch.tensor([top, left, box_height, box_width], dtype=torch.float32)


class CropResizeFlip:
    """Stage of :func:`sample_boxes` and :func:`~ssl_norm.data.augment.resize.crop_resize`.

    Args:
        size: side of the view in pixels.
        area: see :func:`sample_boxes`.
        ratio: see :func:`sample_boxes`.
        flip: probability of a horizontal flip.
    """

    def __init__(
        self, size: int, area: Sequence[float], ratio: Sequence[float], flip: float
    ) -> None:
        self.size = size
        self.area = area
        self.ratio = ratio
        self.flip = flip

    def draw(self, share: Share, generator: Generator) -> Drawn:
        """Return a box and whether to flip, for every image of the share."""
        boxes = sample_boxes(
            share.total, share.height, share.width, self.area, self.ratio, generator
        )
        flips = sample_events(share.total, self.flip, generator)
        return {"boxes": boxes[share.rows], "flips": flips[share.rows]}

    def apply(self, images: Tensor, drawn: Drawn) -> Tensor:
        """Return the boxes, resized and flipped."""
        return crop_resize(images, drawn["boxes"], drawn["flips"], self.size)
