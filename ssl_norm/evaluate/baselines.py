"""Baselines of an encoder: its random initialization, and statistics of the pixels."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BASELINES = {"random_init": "random init", "image_statistics": "image statistics"}  # headings
_QUANTILES, _PATCHES = 5, 4  # number of quantiles; patches along a side


class ImageStatistics(nn.Module):
    """Plain statistics of the pixels instead of an encoder: (B, C, H, W) to (B, 23 C).

    For each channel, these are mean, standard deviation, minimum, quartiles, maximum, and the means
    of 4 x 4 patches. There are no parameters.

    Source: the image-statistics floor of torchgeo's SSL benchmark (mean, standard deviation,
        minimum, maximum), after Corley et al., arXiv 2305.13456; quartiles and patches are added.
    """

    def forward(self, view: Tensor) -> Tensor:
        """Return the statistics; each kind has a value for every channel."""
        pixels = view.flatten(2).sort(dim=2).values
        deviation, mean = torch.std_mean(pixels, dim=2, correction=0)
        places = torch.linspace(0, pixels.shape[2] - 1, _QUANTILES, device=view.device)
        below, above = (pixels[:, :, end.long()] for end in (places.floor(), places.ceil()))
        quantiles = below.lerp(above, places.frac()).flatten(1)
        patches = F.adaptive_avg_pool2d(view, _PATCHES).flatten(1)
        return torch.cat([mean, deviation, quantiles, patches], dim=1)


def baseline_encoders(untrained: nn.Module | None) -> Mapping[str, nn.Module]:
    """Return the baselines of a trained encoder, by their names in `BASELINES`."""
    floor = {"image_statistics": ImageStatistics()}
    return floor if untrained is None else {"random_init": untrained, **floor}


def below_floor(top1: float, floor: float) -> list[str]:
    """Return a warning if linear top-1 is below that of :class:`ImageStatistics`, else nothing."""
    if top1 >= floor:
        return []
    return [
        f"warning: linear top-1 {top1:.4f} is below the {floor:.4f} of plain image statistics: "
        "such simple statistics are better than these features (docs/collapse.md)"
    ]
