"""Heat map of one value of every layer over steps, and figure of the shifts of norm statistics."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssl_norm.figures.style import drawing, pixels, write_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    from ssl_norm.monitors.layers import LayerRow
    from ssl_norm.norms.batch.precise_bn import StatisticsShift

_NOT_MEASURED = "#e4e4e4"
_FEW_STEPS = 6  # up to this number of columns, cells have room for numbers


class _Scale(NamedTuple):
    """Colour scale of a value: title, colour map and ends (None: the measured extremes)."""

    title: str
    colours: str
    low: float | None = 0.0
    high: float | None = 1.0
    log: bool = False


# In maps of viridis, bright means collapsed. All maps suit colour blindness and grey print.
_SCALES: Mapping[str, _Scale] = {
    "negative_cosine": _Scale("negative cosine (1: collapsed)", "viridis"),
    "positive_cosine": _Scale("positive cosine (1 at collapse)", "viridis"),
    "feature_std": _Scale("feature std (0: collapsed)", "viridis_r"),
    "rank_me": _Scale("RankMe in dimensions (1: collapsed)", "viridis_r", 1.0, None, log=True),
    "gradient_norm": _Scale("gradient norm", "cividis", None, None, log=True),
}


def layer_figure(rows: Sequence["LayerRow"], value: str = "negative_cosine") -> "Figure":
    """Draw one value of every layer over steps as a heat map, above one of the gradient norm.

    Colours of cosines and feature std always range from 0 to 1, so that figures are comparable;
    cosines below 0 have the colour of 0. Ranks and gradient norms are on a log scale. Layers are in
    the order of the rows, with the first on top. Cells without a measurement (NaN, no row, or 0 on
    a log scale) are light grey. With up to 6 steps, cells show their numbers.

    Args:
        rows: rows of layers.csv; if several have the same layer and step, the last counts.
        value: `negative_cosine`, `positive_cosine`, `feature_std` or `rank_me`; with
            `gradient_norm`, the figure has only that heat map.

    Raises:
        ValueError: no rows, or another value.
    """
    if not rows:
        raise ValueError("rows: at least one row of a layer expected, got none")
    if value not in _SCALES:
        raise ValueError(f"value: one of {', '.join(_SCALES)} expected, got {value!r}")
    layers = list(dict.fromkeys(row.layer for row in rows))
    steps = sorted({row.step for row in rows})
    shown = [value]
    if value != "gradient_norm" and np.isfinite(_table(rows, "gradient_norm", layers, steps)).any():
        shown.append("gradient_norm")
    with drawing(5.2, 0.4 + len(shown) * max(2.0, 0.5 + 0.22 * len(layers))) as figure:
        panels = figure.subplots(len(shown), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        for axes, name in zip(panels, shown, strict=True):
            _draw_table(axes, _table(rows, name, layers, steps), steps, _SCALES[name])
        panels[-1].set_xlabel("step")
        panels[0].set_yticks(np.arange(len(layers)) + 0.5, layers)
        panels[0].set_ylim(len(layers), 0)
    return figure


def layer_pixels(rows: Sequence["LayerRow"]) -> NDArray[np.uint8]:
    """Return :func:`layer_figure` as RGB pixels, (height, width, 3)."""
    return pixels(layer_figure(rows))


def _table(
    rows: Sequence["LayerRow"], name: str, layers: Sequence[str], steps: Sequence[int]
) -> NDArray[np.float64]:
    """Return a value as (layers, steps); NaN where it is missing or not on the scale."""
    cells = np.full((len(layers), len(steps)), np.nan)
    for row in rows:
        cells[layers.index(row.layer), steps.index(row.step)] = getattr(row, name)
    cells[~np.isfinite(cells)] = np.nan
    if _SCALES[name].log:
        cells[cells <= 0] = np.nan
    return cells


def _draw_table(
    axes: "Axes", cells: NDArray[np.float64], steps: Sequence[int], scale: _Scale
) -> None:
    from matplotlib import colormaps

    few = len(steps) <= _FEW_STEPS
    edges = np.arange(len(steps) + 1.0)
    if not few:  # halfway between neighbours
        middles = np.add(steps[1:], steps[:-1]) / 2
        ends = 2 * steps[0] - middles[0], 2 * steps[-1] - middles[-1]
        edges = np.concatenate([ends[:1], middles, ends[1:]])
    axes.set_facecolor(_NOT_MEASURED)
    mesh = axes.pcolormesh(
        edges,
        np.arange(len(cells) + 1),
        np.ma.masked_invalid(cells),
        norm=_colour_norm(cells, scale),
        cmap=colormaps[scale.colours],
        rasterized=True,
    )
    is_below = scale.low is not None and np.nanmin(cells, initial=1) < scale.low
    axes.figure.colorbar(mesh, ax=axes, pad=0.02, extend="min" if is_below else "neither")
    axes.set_title(scale.title)
    axes.tick_params(left=False)
    if not few:
        return
    axes.set_xticks(np.arange(len(steps)) + 0.5, [str(step) for step in steps])
    for (line, column), number in np.ndenumerate(cells):
        if np.isfinite(number):
            text = f"{number:.3g}" if abs(number) < 1e-3 or number >= 10 else f"{number:.3f}"
            write_number(axes, mesh, (column + 0.5, line + 0.5), number, text)


def _colour_norm(cells: NDArray[np.float64], scale: _Scale) -> "Normalize":
    from matplotlib.colors import LogNorm, Normalize

    measured = cells[np.isfinite(cells)]
    low = scale.low if scale.low is not None else float(measured.min(initial=1.0))
    high = scale.high if scale.high is not None else float(measured.max(initial=2 * low))
    return LogNorm(low, high) if scale.log else Normalize(low, high)


def shift_figure(shifts: Mapping[str, "StatisticsShift"]) -> "Figure":
    """Return a figure of the shifts of means and the ratios of deviations of each layer."""
    layers = range(len(shifts))
    found = list(shifts.values())
    with drawing(max(4.0, 1.5 + 0.16 * len(found)), 5) as figure:
        means, deviations = figure.subplots(2, 1, sharex=True)
        for label, colour in (("largest", "tab:grey"), ("typical", "tab:blue")):
            heights = [getattr(shift, f"{label}_mean") for shift in found]
            means.bar(layers, heights, color=colour, label=label)
        means.set_ylabel("shift of means / deviation")
        means.legend(fontsize="small")
        ranges = [shift.deviation_range for shift in found]
        deviations.vlines(layers, *zip(*ranges, strict=True), color="tab:grey")
        deviations.plot(layers, [shift.typical_deviation for shift in found], "o", markersize=3)
        deviations.axhline(1, color="black", linewidth=0.5)
        deviations.set_ylabel("deviations, exact / old")
        deviations.set_xticks(layers, list(shifts), rotation=90, fontsize=5)
    return figure
