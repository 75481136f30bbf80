"""Colour jitter and grey: as one linear map of an image, or step by step with hue in HSV."""

import math
from functools import reduce
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from ssl_norm.data.augment.parameters import ViewParameters
from ssl_norm.data.augment.transform import Params, Share, sample_events

LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)


class ColourFactors(NamedTuple):
    """Parameters of the colour changes of n images."""

    # (n, 4) factors of brightness, contrast and saturation (neutral: 1), and the shift of hue as
    # share of a full turn (neutral: 0)
    values: Tensor
    order: Tensor  # (n, 4) permutations of the columns of `values`
    grey: Tensor  # (n,) 1 where the image loses all colour afterwards, else 0


def draw_factors(view: ViewParameters, share: Share, generator: Generator) -> ColourFactors:
    """Return random factors for the images of `share`, with torchvision's distributions.

    `view.jitter` is the probability that an image gets factors other than neutral ones, and
    `view.grey` the probability that it becomes grey.
    """
    strengths = (view.brightness, view.contrast, view.saturation, view.hue)
    neutral, spread = torch.tensor([1.0, 1.0, 1.0, 0.0]), torch.tensor(strengths)
    low = neutral - spread
    low[:HUE].clamp_(min=0)
    chosen = sample_events(share.total, view.jitter, generator)[:, None]
    drawn = low + (neutral + spread - low) * torch.rand(share.total, 4, generator=generator)
    order = torch.rand(share.total, 4, generator=generator).argsort(1)
    values = neutral + chosen * (drawn - neutral)
    factors = (values, order, sample_events(share.total, view.grey, generator).float())
    return ColourFactors(*(factor[share.rows] for factor in factors))


def colour_steps(factors: ColourFactors) -> Tensor:
    """Return the five colour changes of every image in their random order, as pairs of matrices.

    A pixel is the sum of the image's mean colour and a deviation; a step maps each by a matrix.
    With S(f) = f I + (1 - f) 1 L', a blend with the luminance L, and R a rotation:

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
    """Return matrices (*, 3, 3) that mix a colour and its luminance in shares (*)."""
    colour, luminance = colour[..., None, None], luminance[..., None, None]
    return colour * torch.eye(3) + luminance * torch.tensor(LUMINANCE)


def compose(steps: Tensor) -> Tensor:
    """Return the product (n, 2, 3, 3) of all steps (n, K, 2, 3, 3), the first applied first."""
    return reduce(lambda product, step: step @ product, steps.unbind(1))


def hue_rotation(turns: Tensor) -> Tensor:
    """Return rotations (n, 3, 3) of RGB space about its grey axis by (n,) shares of a full turn.

    A rotation by a third of a turn maps red to green to blue exactly. At other angles it differs
    from the shift of hue in HSV (:func:`shift_hue`), which keeps the largest and the smallest
    colour of a pixel. For values in [0, 1] on CIFAR-10, a shift by 0.1 changes a value by 0.026 on
    average; the result of this rotation by 0.1 differs from that of the shift by 0.017, and a
    rotation of the chroma plane of YIQ by 0.030.
    """
    angle = 2 * math.pi * turns[:, None, None]
    mean = torch.full((3, 3), 1 / 3)
    across = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
    return mean + angle.cos() * (torch.eye(3) - mean) + angle.sin() * across


def apply_colour_map(images: Tensor, maps: Tensor) -> Tensor:
    """Map the mean colour of images and the deviations from it, and clamp to [0, 1].

    Images are (N, 3, H, W) in [0, 1], contiguous; `maps` (N, 2, 3, 3) are the matrices A for
    deviations and C for the mean. With m the mean colour, the result is A x + (C - A) m.
    """
    pixels = images.flatten(2)
    deviation, mean = maps.unbind(1)
    shift = (mean - deviation) @ pixels.mean(2, keepdim=True)
    return torch.baddbmm(shift, deviation, pixels).clamp_(0, 1).view(images.shape)


class FusedColour:
    """Transform that applies all colour changes of an image by one 3 x 4 matrix.

    It differs from :class:`ExactColour` in two ways: hue is a rotation about the grey axis, and
    values are clamped to [0, 1] once instead of after every step. For values in [0, 1] on CIFAR-10,
    with jitter on every image, the mean absolute difference is 0.011 for BYOL's strengths and 0.016
    for SimCLR's full ones, of which clamping causes 0.001 and 0.006; jitter itself changes a value
    by 0.10 and 0.19 (`benchmarks/augmentation.py`). Both forms are meant to hide the same
    information from the learner; ExactColour serves to verify this.
    """

    def __init__(self, view: ViewParameters) -> None:
        self.view = view

    def draw(self, share: Share, generator: Generator) -> Params:
        """Return the maps of :func:`apply_colour_map`."""
        return {"maps": compose(colour_steps(draw_factors(self.view, share, generator)))}

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """Return the recoloured images."""
        return apply_colour_map(images, params["maps"])


class ExactColour(FusedColour):
    """Transform that applies the colour changes one by one, as torchvision and kornia define them.

    Hue is shifted by :func:`shift_hue`. This takes several times as long as one map.
    """

    def draw(self, share: Share, generator: Generator) -> Params:
        """Return the steps, the shifts of hue, and `hue_rows<k>`, the images with hue as step k."""
        factors = draw_factors(self.view, share, generator)
        turns = factors.values[:, HUE]
        shifts_hue = (factors.order == HUE) & (turns[:, None] != 0)
        rows = {f"hue_rows{k}": column.nonzero()[:, 0] for k, column in enumerate(shifts_hue.T)}
        return {"steps": colour_steps(factors), "turns": turns, **rows}

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """Return the recoloured images."""
        *steps, grey = params["steps"].unbind(1)
        for index, step in enumerate(steps):
            rows = params[f"hue_rows{index}"]
            shifted = shift_hue(images[rows], params["turns"][rows])
            images = apply_colour_map(images, step)
            images[rows] = shifted
        return apply_colour_map(images, grey)


def shift_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Shift the HSV hue of images in [0, 1] by (N,) turns, as torchvision's `adjust_hue` does.

    With V the largest and V - D the smallest colour of a pixel and H its hue in sixths of a turn,
    the colours R, G, B of the result (k = 5, 3, 1) are V - D clip(min(a, 4 - a), 0, 1) with a = (k
    + H + 6 turns) mod 6.

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
