"""Decision boundaries over two moons, and the dependence of predictions on the batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ssl_norm.figures.style import BLUE, VERMILION, drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

_Array = NDArray[np.floating]
_CLASSES = ((BLUE, "o"), (VERMILION, "^"))  # colour and marker of either class
_PALE = "#7a7a7a"  # unlabelled points
_TINT = 0.22  # opacity of the side of a class
_LOWEST_TOP = 0.05  # of the scale of deviations, so that rounding errors stay pale


@dataclass(frozen=True)
class PlaneMap:
    """Predictions of one model on a grid of points.

    Attributes:
        name: title of its column.
        probability: (rows, columns), of the second class, under the statistics of evaluation.
        deviation: (rows, columns), standard deviation of that probability over re-drawn batches.
    """

    name: str
    probability: _Array
    deviation: _Array


@dataclass(frozen=True)
class Points:
    """The points drawn in every panel.

    Attributes:
        labelled: (N, 2).
        labels: (N,), 0 or 1.
        unlabelled: (U, 2).
    """

    labelled: _Array
    labels: NDArray[np.integer]
    unlabelled: _Array


def moons_figure(
    x: _Array, y: _Array, maps: Sequence[PlaneMap], points: Points, caption: str = ""
) -> "Figure":
    """Draw boundaries above and deviations below, one column per model.

    Above, the plane is tinted by the predicted class; the boundary, where both classes are equally
    probable, is a thick line. Below, deviations have one colour scale for all models, from 0.

    Args:
        x: (columns,), ascending coordinates of the grid.
        y: (rows,), ascending.
        maps: of each model.
        points: in all panels.
        caption: text below the panels.

    Raises:
        ValueError: no maps, or one whose shape is not (rows, columns).
    """
    if not maps:
        raise ValueError("maps: at least one model expected, got none")
    for plane in maps:
        found = (plane.probability.shape, plane.deviation.shape)
        if found != ((len(y), len(x)),) * 2:
            raise ValueError(f"maps: {(len(y), len(x))} twice expected, {plane.name!r} has {found}")
    with drawing(0.8 + 4.0 * len(maps), 6.4) as figure:
        grid = figure.subplots(2, len(maps), sharex=True, sharey=True, squeeze=False)
        top = max(_LOWEST_TOP, *(float(plane.deviation.max()) for plane in maps))
        for (upper, lower), plane in zip(grid.T, maps, strict=True):
            _draw_sides(upper, x, y, plane.probability)
            mesh = _draw_deviation(lower, x, y, plane.deviation, top)
            upper.set_title(plane.name)
            for axes in (upper, lower):
                _draw_points(axes, points)
                axes.contour(x, y, plane.probability, levels=[0.5], colors="black", linewidths=2.6)
                axes.set(aspect="equal", xticks=[], yticks=[])
        grid[0, 0].set_ylabel("predicted class")
        grid[1, 0].set_ylabel("uncertainty")
        figure.colorbar(mesh, ax=grid[1], pad=0.02, label="std over re-drawn batches")
        _add_legend(figure, grid[0, 0])
        if caption:
            figure.supxlabel(caption, fontsize=9)
    return figure


def _draw_sides(axes: "Axes", x: _Array, y: _Array, probability: _Array) -> None:
    """Tint the plane by the predicted class."""
    colours = [colour for colour, _ in _CLASSES]
    sides = np.array([-np.inf, 0.5, np.inf])
    axes.contourf(x, y, probability, levels=sides, colors=colours, alpha=_TINT)


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


def _draw_points(axes: "Axes", points: Points) -> None:
    """Draw unlabelled points small and pale, labelled ones large, by class in colour and marker."""
    x, y = points.unlabelled.T
    axes.scatter(
        x, y, s=5, color=_PALE, alpha=0.55, linewidths=0, label="no label", rasterized=True
    )
    for label, (colour, marker) in enumerate(_CLASSES):
        x, y = points.labelled[points.labels == label].T
        style: dict[str, Any] = {"s": 90, "edgecolors": "white", "linewidths": 1.4, "zorder": 4}
        axes.scatter(x, y, color=colour, marker=marker, label=f"label {label}", **style)


def _add_legend(figure: "Figure", axes: "Axes") -> None:
    """Name points and boundary above the panels."""
    from matplotlib.lines import Line2D

    boundary = Line2D(
        [], [], color="black", linewidth=2.6, label="decision boundary, population statistics"
    )
    handles = [*axes.get_legend_handles_labels()[0], boundary]
    figure.legend(handles=handles, loc="outside upper center", ncols=4)
