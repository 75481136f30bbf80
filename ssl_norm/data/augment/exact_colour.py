"""Colour jitter and grey step by step, with hue in HSV."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from ssl_norm.data.augment.colour import HUE, apply_colour_map, colour_steps, draw_factors
from ssl_norm.data.augment.parameters import ViewParameters
from ssl_norm.data.augment.transform import Params, Share


class ExactColour:
    """Transform by :func:`jitter_exactly`, which takes several times the work of one map.

    Args:
        view: strengths and probabilities.
    """

    def __init__(self, view: ViewParameters) -> None:
        self.view = view

    def draw(self, share: Share, generator: Generator) -> Params:
        """Return the arguments of :func:`jitter_exactly`, the rows of step k as `hue_rows<k>`."""
        factors = draw_factors(self.view, share, generator)
        steps = colour_steps(factors)
        turns = factors.values[:, HUE]
        shifts_hue = (factors.order == HUE) & (turns[:, None] != 0)
        rows = {f"hue_rows{k}": column.nonzero()[:, 0] for k, column in enumerate(shifts_hue.T)}
        return {"steps": steps, "turns": turns, **rows}

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """Return the recoloured images."""
        steps = params["steps"]
        rows = [params[f"hue_rows{k}"] for k in range(4)]
        return jitter_exactly(images, steps, params["turns"], rows)


def jitter_exactly(
    images: Tensor, steps: Tensor, turns: Tensor, hue_rows: Sequence[Tensor]
) -> Tensor:
    """Return images after every step in turn, as torchvision and kornia define them.

    Args:
        images: (N, 3, H, W) in [0, 1], contiguous.
        steps: (N, 5, 2, 3, 3), of which those of hue are replaced by
            :func:`shift_hue`.
        turns: (N,) shift of hue, share of a full turn.
        hue_rows: for each of the first four steps, the images whose hue it shifts.

    Returns:
        (N, 3, H, W) in [0, 1].
    """
    for index, rows in enumerate(hue_rows):
        shifted = shift_hue(images[rows], turns[rows])
        images = apply_colour_map(images, steps[:, index])
        images[rows] = shifted
    return apply_colour_map(images, steps[:, len(hue_rows)])


def shift_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Return images with their hue in HSV moved, as torchvision's `adjust_hue` does.

    With V the largest and V - D the smallest colour of a pixel and H its hue in sixths of a turn,
    colour number k = 5, 3, 1 (R, G, B) of the result is V - D clip(min(a, 4 - a), 0, 1) with a = (k
    + H + 6 turns) mod 6.

    Args:
        images: (N, 3, H, W) in [0, 1].
        turns: (N,) share of a full turn.

    Returns:
        (N, 3, H, W) in [0, 1].

    Source: Smith, "Color gamut transform pairs", SIGGRAPH 1978, in its form without cases.
    """
    red, green, blue = images.unbind(1)
    value = images.amax(1)
    chroma = value - images.amin(1)
    divisor = chroma.clamp(min=1e-12)
    hue = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    hue += 6 * turns[:, None, None]
    result = torch.empty_like(images)
    for channel, offset in enumerate((5, 3, 1)):
        place = (hue + offset).remainder_(6)
        weight = torch.minimum(place, 4 - place).clamp_(0, 1)
        result[:, channel] = value - chroma * weight
    return result
