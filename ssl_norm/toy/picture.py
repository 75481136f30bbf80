"""Figure of the two moons with boundaries, uncertainty and starting points of classifiers."""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssl_norm.evaluate.uncertainty import uncertainty
from ssl_norm.figures.style import BLUE, VERMILION, drawing, save_figure
from ssl_norm.toy.augmentation import Starts
from ssl_norm.toy.classifiers import joint_batches
from ssl_norm.toy.samples import Samples

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

_Array = NDArray[np.floating]
_MARGIN = 0.5  # width of the plane around the points
_GRID_STEP = 0.025
_DOTS_PER_INCH = 150
_CLASSES = ((BLUE, "o"), (VERMILION, "^"))  # colour and marker of either class
_PALE = "#7a7a7a"  # unlabelled points
_TINT = 0.22  # opacity of the colour of the predicted class
_LOWEST_TOP = 0.05  # the scale of deviations ends here or higher, so that rounding errors are pale


class PlaneMap(NamedTuple):
    """Predictions of one model on a grid of points."""

    name: str  # title of its column
    # (rows, columns), probability of the second class with the statistics of evaluation
    probability: _Array
    deviation: _Array  # (rows, columns), std of that probability over re-drawn batches
    starts: Starts


def draw_classifiers(
    models: Mapping[str, tuple[nn.Module, Starts]],
    moons: Samples,
    output: Path,
    *,
    draws: int,
    unlabelled: int,
    seed: int,
    caption: str,
) -> None:
    """Write a figure of all models, with deviations over the same joint batches.

    `models` maps the titles of columns to a model in evaluation mode and its starting points. There
    are `draws` joint batches, each with `unlabelled` points.
    """
    x, y = axis(moons, 0), axis(moons, 1)
    down, across = torch.meshgrid(torch.from_numpy(y), torch.from_numpy(x), indexing="ij")
    grid = torch.stack([across.flatten(), down.flatten()], dim=1).float()
    batches = list(islice(joint_batches(moons, unlabelled, seed), draws))
    shape = (len(y), len(x))
    maps = [
        PlaneMap(title, *plane_map(model, grid, batches, shape), starts)
        for title, (model, starts) in models.items()
    ]
    save_figure(moons_figure(x, y, maps, moons, caption), output, _DOTS_PER_INCH)


def axis(moons: Samples, dimension: int) -> NDArray[np.float64]:
    """Return the coordinates of the grid along one dimension."""
    points = torch.cat([moons.labelled, moons.unlabelled])[:, dimension]
    first, last = float(points.min()), float(points.max())
    return np.arange(first - _MARGIN, last + _MARGIN, _GRID_STEP, dtype=np.float64)


@torch.no_grad()
def plane_map(
    model: nn.Module, grid: Tensor, batches: list[Tensor], shape: tuple[int, int]
) -> tuple[_Array, _Array]:
    """Return probability and deviation of a model at the points of a grid (rows * columns, 2)."""
    probability = model(grid).softmax(1)[:, 1]
    deviation = uncertainty(model, grid, batches, batch_size=len(grid)).std
    return probability.view(shape).numpy(), deviation.view(shape).numpy()


def moons_figure(
    x: _Array, y: _Array, maps: Sequence[PlaneMap], moons: Samples, caption: str = ""
) -> "Figure":
    """Draw boundaries, deviations and starting points, one column per model.

    In the upper row, colours show the predicted class, and a thick line shows the boundary at which
    both classes are equally probable. In the middle row, deviations have one colour scale for all
    models. In the lower row, a line joins each restored starting point, a dot, to its input.

    Args:
        x: (columns,), ascending coordinates of the grid.
        y: (rows,), ascending coordinates of the grid.
        maps: predictions of at least one model.
        moons: points that are drawn in all panels.
        caption: text below the panels.
    """
    with drawing(0.8 + 4.0 * len(maps), 9.2) as figure:
        grid = figure.subplots(3, len(maps), sharex=True, sharey=True, squeeze=False)
        top = max(_LOWEST_TOP, *(float(plane.deviation.max()) for plane in maps))
        colours, sides = [colour for colour, _ in _CLASSES], np.array([-np.inf, 0.5, np.inf])
        for column, plane in zip(grid.T, maps, strict=True):
            upper, middle, lower = column
            upper.contourf(x, y, plane.probability, levels=sides, colors=colours, alpha=_TINT)
            mesh = _draw_deviation(middle, x, y, plane.deviation, top)
            _draw_starts(lower, plane.starts, moons)
            upper.set_title(plane.name)
            for axes in column:
                _draw_points(axes, moons)
                axes.contour(x, y, plane.probability, levels=[0.5], colors="black", linewidths=2.6)
                axes.set(
                    aspect="equal", xticks=[], yticks=[], xlim=(x[0], x[-1]), ylim=(y[0], y[-1])
                )
        grid[0, 0].set_ylabel("predicted class")
        grid[1, 0].set_ylabel("uncertainty")
        grid[2, 0].set_ylabel("starting points")
        figure.colorbar(mesh, ax=grid[1], pad=0.02, label="std over re-drawn batches")
        _add_legend(figure, grid[0, 0])
        if caption:
            figure.supxlabel(caption, fontsize=9)
    return figure


def _draw_deviation(
    axes: "Axes", x: _Array, y: _Array, deviation: _Array, top: float
) -> "ScalarMappable":
    """Draw the deviation as a heat map from 0 to `top`, pale enough for points and lines on it."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    white_to_green = ListedColormap(colormaps["Greens"](np.linspace(0, 0.75, 256)))
    return axes.pcolormesh(
        x, y, deviation, vmin=0, vmax=top, cmap=white_to_green, shading="nearest", rasterized=True
    )


def _draw_starts(axes: "Axes", starts: Starts, moons: Samples) -> None:
    """Draw each restored starting point in the colour of its label, joined to its input."""
    labels = moons.labels.repeat(len(starts.points) // len(moons.labels))
    for label, (colour, _) in enumerate(_CLASSES):
        chosen = starts.restored & (labels == label)
        lines = torch.stack([starts.inputs[chosen], starts.points[chosen]]).numpy()
        axes.plot(*lines.transpose(2, 0, 1), color=colour, linewidth=0.5, alpha=0.5)
        x, y = lines[1].T
        dots = axes.scatter(x, y, s=12, color=colour, zorder=5)
        dots.set(edgecolors="white", linewidths=0.4)


def _draw_points(axes: "Axes", moons: Samples) -> None:
    """Draw unlabelled points small and pale, and labelled points large with marker and colour."""
    x, y = moons.unlabelled.numpy().T
    axes.scatter(
        x, y, s=5, color=_PALE, alpha=0.55, linewidths=0, label="no label", rasterized=True
    )
    for label, (colour, marker) in enumerate(_CLASSES):
        x, y = moons.labelled[moons.labels == label].numpy().T
        points = axes.scatter(x, y, s=90, color=colour, marker=marker, label=f"label {label}")
        points.set(edgecolors="white", linewidths=1.4, zorder=4)


def _add_legend(figure: "Figure", axes: "Axes") -> None:
    from matplotlib.lines import Line2D

    label = "decision boundary, population statistics"
    boundary = Line2D([], [], color="black", linewidth=2.6, label=label)
    handles = [*axes.get_legend_handles_labels()[0], boundary]
    figure.legend(handles=handles, loc="outside upper center", ncols=4)
