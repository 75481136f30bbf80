"""What tools/population_stats.py recomputes, of whatever kind the checkpoint is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ssl_norm.evaluate.features import evaluation_view
from ssl_norm.evaluate.subject import Subject
from ssl_norm.train.population import MakeViews


@dataclass(frozen=True)
class Recomputed:
    """What a checkpoint holds, and how images pass through it.

    Attributes:
        network: the learner of a run, its target network and heads too; a classifier; else the encoder.
        encoder: the part that is evaluated; of a classifier the whole.
        make_views: what `network` is given of a batch of images.
        views: `train` or `plain`.
        limit: of the pretraining images; None: all.
        contents: of the checkpoint of a run; None for a file of weights.
    """

    network: nn.Module
    encoder: nn.Module
    make_views: MakeViews
    views: str
    limit: int | None
    contents: Mapping[str, Any] | None


def plain_views(
    subject: Subject, images: Tensor, generator: torch.Generator, *, copies: int
) -> tuple[Tensor, ...]:
    """Return what evaluation sees of uint8 images (N, 3, H, W), as often as the network takes views."""
    pixels = images.permute(0, 2, 3, 1)
    return (evaluation_view(pixels, subject.data.view_size, subject.mean, subject.std),) * copies
