"""Baselines of an encoder: its random initialization, and statistics of the pixels."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_norm.console import say
from ssl_norm.evaluate.protocol import ProbeResult

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


def evaluate_with_baselines(
    evaluate: Callable[[nn.Module], ProbeResult], trained: nn.Module, untrained: nn.Module | None
) -> dict[str, ProbeResult]:
    """Return the results `trained` of an encoder, and of its baselines by their names in BASELINES.

    A line warns about a linear top-1 below that of :class:`ImageStatistics`. `untrained` is the
    encoder at its random initialization; without it, that baseline is missing.
    """
    initial = {} if untrained is None else {"random_init": untrained}
    encoders = {"trained": trained, **initial, "image_statistics": ImageStatistics()}
    found = {name: evaluate(encoder) for name, encoder in encoders.items()}
    warn_below_floor(found["trained"], found["image_statistics"])
    return found


def warn_below_floor(found: ProbeResult, floor: ProbeResult) -> None:
    """Print a warning if linear top-1 is below that of :class:`ImageStatistics`."""
    if found.top1 < floor.top1:
        say(
            f"warning: linear top-1 {found.top1:.4f} is below the {floor.top1:.4f} of plain image "
            "statistics: such simple statistics are better than these features (docs/collapse.md)"
        )
