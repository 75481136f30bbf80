"""Colour jitter and grey on a batch: all steps as one map, or step by step."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from ssl_norm.data.augment.colour_steps import (
    HUE,
    ColourFactors,
    colour_steps,
    compose,
    sample_factors,
)
from ssl_norm.data.augment.hue import shift_hue
from ssl_norm.data.augment.parameters import ViewParameters
from ssl_norm.data.augment.transform import Drawn, Share


def apply_colour_map(images: Tensor, maps: Tensor) -> Tensor:
    """Return images with mean colour and deviations from it mapped, clamped to [0, 1].

    One 3 x 4 matrix per image: with m the mean colour, A x + (C - A) m.

    Args:
        images: (N, 3, H, W) in [0, 1], contiguous.
        maps: (N, 2, 3, 3), A for deviations and C for the mean.

    Returns:
        (N, 3, H, W) in [0, 1].
    """
    pixels = images.flatten(2)
    deviation, mean = maps.unbind(1)
    shift = (mean - deviation) @ pixels.mean(2, keepdim=True)
    return torch.baddbmm(shift, deviation, pixels).clamp_(0, 1).view(images.shape)


def jitter_exactly(
    images: Tensor, steps: Tensor, turns: Tensor, hue_rows: Sequence[Tensor]
) -> Tensor:
    """Return images after every step in turn, as torchvision and kornia define them.

    Args:
        images: (N, 3, H, W) in [0, 1], contiguous.
        steps: (N, 5, 2, 3, 3), of which those of hue are replaced by
            :func:`~ssl_norm.data.augment.hue.shift_hue`.
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


class FusedColour:
    """Stage that makes all colour changes of an image one 3 x 4 matrix.

    It differs from step by step in two ways: hue is a rotation about the grey axis, and values are
    clamped to [0, 1] once instead of after every step. Mean absolute difference from the exact form
    on CIFAR-10, values in [0, 1], with jitter on every image: 0.011 for BYOL's strengths, 0.016 for
    SimCLR's full ones, of which clamping is 0.001 and 0.006; jitter itself changes a value by 0.10
    and 0.19. (`benchmarks/augmentation.py` measures it again.) Both forms hide the same information
    from the learner; :class:`ExactColour` is there to verify that.

    Args:
        view: strengths and probabilities.
    """

    def __init__(self, view: ViewParameters) -> None:
        self.view = view

    def draw(self, share: Share, generator: Generator) -> Drawn:
        """Return the maps of :func:`apply_colour_map`."""
        factors = draw_factors(self.view, share, generator)
        return {"maps": compose(colour_steps(factors))}

    def apply(self, images: Tensor, drawn: Drawn) -> Tensor:
        """Return the recoloured images."""
        return apply_colour_map(images, drawn["maps"])


class ExactColour:
    """Stage that takes each step by itself, with hue in HSV; several times the work.

    Args:
        view: strengths and probabilities.
    """

    def __init__(self, view: ViewParameters) -> None:
        self.view = view

    def draw(self, share: Share, generator: Generator) -> Drawn:
        """Return what :func:`jitter_exactly` takes, the rows of step k as `hue_rows<k>`."""
        factors = draw_factors(self.view, share, generator)
        steps = colour_steps(factors)
        turns = factors.values[:, HUE]
        shifts_hue = (factors.order == HUE) & (turns[:, None] != 0)
        rows = {f"hue_rows{k}": column.nonzero()[:, 0] for k, column in enumerate(shifts_hue.T)}
        return {"steps": steps, "turns": turns, **rows}

    def apply(self, images: Tensor, drawn: Drawn) -> Tensor:
        """Return the recoloured images."""
        steps = drawn["steps"]
        rows = [drawn[f"hue_rows{k}"] for k in range(4)]
        return jitter_exactly(images, steps, drawn["turns"], rows)


def draw_factors(view: ViewParameters, share: Share, generator: Generator) -> ColourFactors:
    """Return the factors of the share's images."""
    strengths = (view.brightness, view.contrast, view.saturation, view.hue)
    factors = sample_factors(share.total, view.jitter, strengths, view.grey, generator)
    return ColourFactors(*(factor[share.rows] for factor in factors))
