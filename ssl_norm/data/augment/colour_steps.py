"""Brightness, contrast, saturation, hue and grey as linear maps, and their product."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from ssl_norm.data.augment.hue import hue_rotation
from ssl_norm.data.augment.random_draws import sample_events

LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)


class ColourFactors(NamedTuple):
    """Parameters of the colour changes of n images.

    Attributes:
        values: (n, 4) factors of brightness, contrast and saturation, of which 1 changes nothing,
            and the shift of hue as share of a full turn, of which 0 changes nothing.
        order: (n, 4) permutations of the columns of `values`.
        grey: (n,) 1 where the image loses all colour afterwards, else 0.
    """

    values: Tensor
    order: Tensor
    grey: Tensor


def sample_factors(
    n: int, jitter: float, strengths: Sequence[float], grey: float, generator: Generator
) -> ColourFactors:
    """Return random factors with torchvision's distributions, every image its own.

    Args:
        n: number of images.
        jitter: probability that `values` change an image at all.
        strengths: of brightness, contrast, saturation and hue, see
            :class:`~ssl_norm.data.augment.parameters.ViewParameters`.
        grey: probability of losing all colour.
        generator: of the CPU.
    """
    neutral = torch.tensor([1.0, 1.0, 1.0, 0.0])
    spread = torch.tensor(list(strengths))
    low = neutral - spread
    low[:HUE].clamp_(min=0)
    chosen = sample_events(n, jitter, generator)[:, None]
    drawn = low + (neutral + spread - low) * torch.rand(n, 4, generator=generator)
    order = torch.rand(n, 4, generator=generator).argsort(1)
    values = neutral + chosen * (drawn - neutral)
    return ColourFactors(values, order, sample_events(n, grey, generator).float())


def colour_steps(factors: ColourFactors) -> Tensor:
    """Return the five steps of every image, in its own order, as pairs of matrices.

    A pixel is the image's mean colour and a deviation from it, and a step maps each by a matrix.
    With S(f) = f I + (1 - f) 1 L' a blend with the luminance L:

        brightness b    b I     b I
        contrast c      c I     S(c)        a blend with the luminance of the mean colour
        saturation s    S(s)    S(s)
        hue h           R(h)    R(h)        a rotation about the grey axis
        grey            S(0)    S(0)

    Returns:
        (n, 5, 2, 3, 3): step in order of application, then [for deviations, for the mean].
    """
    values = factors.values[:, :HUE]
    kept = torch.stack((values, values), 2)
    blended = 1 - kept
    blended[:, BRIGHTNESS] = 0
    blended[:, CONTRAST, 0] = 0
    rotation = hue_rotation(factors.values[:, HUE])[:, None, None].expand(-1, 1, 2, 3, 3)
    pairs = torch.cat((blend(kept, blended), rotation), 1)
    ordered = pairs.gather(1, factors.order[:, :, None, None, None].expand_as(pairs))
    grey = blend(1 - factors.grey, factors.grey)[:, None, None].expand(-1, 1, 2, 3, 3)
    return torch.cat((ordered, grey), 1)


def blend(colour: Tensor, luminance: Tensor) -> Tensor:
    """Return matrices (*, 3, 3) that add shares (*) of a colour and of its luminance."""
    return colour[..., None, None] * torch.eye(3) + luminance[..., None, None] * torch.tensor(
        LUMINANCE
    )


def compose(steps: Tensor) -> Tensor:
    """Return the product (n, 2, 3, 3) of all steps (n, K, 2, 3, 3), the first applied first."""
    product = steps[:, 0]
    for index in range(1, steps.shape[1]):
        product = steps[:, index] @ product
    return product
