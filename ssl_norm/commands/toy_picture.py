"""The picture of tools/toy.py: classifiers evaluated on a grid of the plane."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssl_norm.commands.toy_models import joint_batches
from ssl_norm.data.moons import Moons
from ssl_norm.evaluate.uncertainty import uncertainty
from ssl_norm.figures.moons import PlaneMap, Points, moons_figure

MARGIN = 0.5  # of the plane around the points
GRID_STEP = 0.025
DOTS_PER_INCH = 150


def draw_classifiers(
    models: Mapping[str, nn.Module],
    moons: Moons,
    output: Path,
    *,
    draws: int,
    unlabelled: int,
    seed: int,
    caption: str,
) -> None:
    """Write a picture of boundaries and deviations.

    The deviations are over the same joint batches for all models, so that only the models differ.

    Args:
        models: by the title of their columns, in evaluation mode.
        moons: all points.
        output: file to write.
        draws: of joint batches.
        unlabelled: points without a label in each of them.
        seed: of the draws.
        caption: stands below.
    """
    x, y = axis(moons, 0), axis(moons, 1)
    down, across = torch.meshgrid(torch.from_numpy(y), torch.from_numpy(x), indexing="ij")
    grid = torch.stack([across.flatten(), down.flatten()], dim=1).float()
    batches = list(islice(joint_batches(moons, unlabelled, seed), draws))
    maps = [
        plane_map(title, model, grid, batches, (len(y), len(x))) for title, model in models.items()
    ]
    points = Points(moons.labelled.numpy(), moons.labels.numpy(), moons.unlabelled.numpy())
    moons_figure(x, y, maps, points, caption).savefig(output, dpi=DOTS_PER_INCH)


def axis(moons: Moons, dimension: int) -> NDArray[np.float64]:
    """Return the coordinates of the grid along one dimension."""
    points = torch.cat([moons.labelled, moons.unlabelled])[:, dimension]
    first, last = float(points.min()), float(points.max())
    return np.arange(first - MARGIN, last + MARGIN, GRID_STEP, dtype=np.float64)


@torch.no_grad()
def plane_map(
    title: str, model: nn.Module, grid: Tensor, batches: list[Tensor], shape: tuple[int, int]
) -> PlaneMap:
    """Return what a model says of the points of a grid (rows * columns, 2)."""
    probability = model(grid).softmax(1)[:, 1]
    deviation = uncertainty(model, grid, batches, batch_size=len(grid)).std
    return PlaneMap(title, probability.view(shape).numpy(), deviation.view(shape).numpy())
