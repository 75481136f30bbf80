"""Where it collapses: one value of every layer over steps, and the gradient norm beside it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssl_norm.figures.style import drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    from ssl_norm.monitors.layers import LayerRow

NOT_MEASURED = "#e4e4e4"
FEW_STEPS = 6  # so few columns have room for numbers


class Scale(NamedTuple):
    """How a value of a layer is coloured.

    Attributes:
        title: what the colour bar is called.
        colours: name of the colour map.
        low: value at the map's beginning; null: the lowest measured one.
        high: value at its end; null: the highest measured one.
        log: whether the scale is logarithmic.
    """

    title: str
    colours: str
    low: float | None = 0.0
    high: float | None = 1.0
    log: bool = False


# Bright is collapsed, in every map of viridis; all maps survive colour blindness and grey print.
SCALES: Mapping[str, Scale] = {
    "negative_cosine": Scale("negative cosine (1: collapsed)", "viridis"),
    "positive_cosine": Scale("positive cosine (1 at collapse)", "viridis"),
    "feature_std": Scale("feature std (0: collapsed)", "viridis_r"),
    "rank_me": Scale("RankMe in dimensions (1: collapsed)", "viridis_r", 1.0, None, log=True),
    "gradient_norm": Scale("gradient norm", "cividis", None, None, log=True),
}


def layer_figure(rows: Sequence["LayerRow"], value: str = "negative_cosine") -> "Figure":
    """Draw one value of every layer over steps as a heat map, and the gradient norm on a log scale below it.

    Cosines and feature std are always coloured from 0 to 1, so that figures compare; cosines below 0 look like 0.
    Layers stand in the order of the rows, the first on top. Cells that are not measurable (NaN, or no row; a gradient
    norm of 0 on its log scale) are light grey. Up to 6 steps, cells carry their numbers.

    Args:
        rows: of any layers at any steps; for one layer and step the last row counts.
        value: `negative_cosine`, `positive_cosine`, `feature_std` or `rank_me`; `gradient_norm` for that panel alone.

    Raises:
        ValueError: no rows, or another value.
    """
    if not rows:
        raise ValueError("rows: at least one row of a layer expected, got none")
    if value not in SCALES:
        raise ValueError(f"value: one of {', '.join(SCALES)} expected, got {value!r}")
    layers = list(dict.fromkeys(row.layer for row in rows))
    steps = sorted({row.step for row in rows})
    shown = [value]
    if value != "gradient_norm" and np.isfinite(table(rows, "gradient_norm", layers, steps)).any():
        shown.append("gradient_norm")
    with drawing(5.2, 0.4 + len(shown) * max(2.0, 0.5 + 0.22 * len(layers))) as figure:
        panels = figure.subplots(len(shown), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        for axes, name in zip(panels, shown, strict=True):
            draw_table(axes, table(rows, name, layers, steps), steps, SCALES[name])
        panels[-1].set_xlabel("step")
        panels[0].set_yticks(np.arange(len(layers)) + 0.5, layers)
        panels[0].set_ylim(len(layers), 0)
    return figure


def table(
    rows: Sequence["LayerRow"], name: str, layers: Sequence[str], steps: Sequence[int]
) -> NDArray[np.float64]:
    """Return a value as (layers, steps), NaN where there is none that the scale can show."""
    cells = np.full((len(layers), len(steps)), np.nan)
    line = {layer: index for index, layer in enumerate(layers)}
    column = {step: index for index, step in enumerate(steps)}
    for row in rows:
        cells[line[row.layer], column[row.step]] = getattr(row, name)
    cells[~np.isfinite(cells)] = np.nan
    if SCALES[name].log:
        cells[cells <= 0] = np.nan
    return cells


def draw_table(
    axes: "Axes", cells: NDArray[np.float64], steps: Sequence[int], scale: Scale
) -> None:
    """Draw one heat map with its colour bar."""
    from matplotlib import colormaps

    few = len(steps) <= FEW_STEPS
    edges = np.arange(len(steps) + 1) if few else step_edges(steps)
    axes.set_facecolor(NOT_MEASURED)
    mesh = axes.pcolormesh(
        edges,
        np.arange(len(cells) + 1),
        np.ma.masked_invalid(cells),
        norm=colour_norm(cells, scale),
        cmap=colormaps[scale.colours],
        rasterized=True,
    )
    extend = (
        "min" if scale.low is not None and np.nanmin(cells, initial=1) < scale.low else "neither"
    )
    axes.figure.colorbar(mesh, ax=axes, pad=0.02, extend=extend)
    axes.set_title(scale.title)
    axes.tick_params(left=False)
    if few:
        axes.set_xticks(np.arange(len(steps)) + 0.5, [str(step) for step in steps])
        write_numbers(axes, cells, mesh)


def colour_norm(cells: NDArray[np.float64], scale: Scale) -> "Normalize":
    """Return the map from values to [0, 1] of a colour scale, of any width above 0 whatever was measured."""
    from matplotlib.colors import LogNorm, Normalize

    measured = cells[np.isfinite(cells)]
    low = scale.low if scale.low is not None else float(measured.min(initial=1.0))
    high = scale.high if scale.high is not None else float(measured.max(initial=2 * low))
    return LogNorm(low, high) if scale.log else Normalize(low, high)


def step_edges(steps: Sequence[int]) -> NDArray[np.float64]:
    """Return where the columns of steps begin and end: halfway between neighbours.

    Example:
        >>> step_edges([10, 20, 40]).tolist()
        [5.0, 15.0, 30.0, 50.0]
    """
    places = np.asarray(steps, dtype=np.float64)
    middles = (places[1:] + places[:-1]) / 2
    return np.concatenate([[2 * places[0] - middles[0]], middles, [2 * places[-1] - middles[-1]]])


def write_numbers(axes: "Axes", cells: NDArray[np.float64], mesh: "QuadMesh") -> None:
    """Write each measured value into its cell, black on bright and white on dark."""
    for (line, column), number in np.ndenumerate(cells):
        if np.isfinite(number):
            brightness = np.dot(mesh.to_rgba(np.asarray(number))[:3], (0.299, 0.587, 0.114))
            axes.text(
                column + 0.5,
                line + 0.5,
                f"{number:.3g}" if abs(number) < 1e-3 or number >= 10 else f"{number:.3f}",
                ha="center",
                va="center",
                fontsize=8,
                color="black" if brightness > 0.5 else "white",
            )
