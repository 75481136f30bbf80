"""Parts of figures: files, line styles, curves with bands, and panels for groups of runs."""

import io
import math
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, NamedTuple

from ssl_norm.figures.style import BLUE, GREEN, GREY, ORANGE, VERMILION, drawing
from ssl_norm.reporting.frame import Group
from ssl_norm.reporting.read import RunRecord
from ssl_norm.reporting.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 7.1  # inches between the margins of A4
DOTS_PER_INCH = 200
COLUMNS = 3
PANELS = 12  # most panels in one figure, so that it fits on a page
COLOURS = (BLUE, VERMILION, GREEN, ORANGE, GREY, "#CC79A7", "#56B4E9", "black")
MARKERS = "osD^vPX"
CURVES_READ = (
    "Thin lines: single runs; thick: their mean at the steps that all runs of the group have; band: "
    "mean +- sample standard deviation, or the range of the two runs if n = 2."
)


@dataclass(frozen=True)
class FigureFile:
    """A figure of the report."""

    name: str  # name of its PNG file, without the suffix
    figure: "Figure"  # the drawing
    caption: str  # description of its content, with the number of runs
    table: Table | None = None  # its numbers, shown below it; None if other tables have them
    numbers: Table | None = None  # its numbers in full, for its CSV file

    @cached_property
    def png(self) -> bytes:
        """The figure as a PNG."""
        png = io.BytesIO()
        self.figure.savefig(png, format="png", dpi=DOTS_PER_INCH)
        return png.getvalue()

    @property
    def share(self) -> float:
        """Its width as a share of the page, so that text has the same size in all figures."""
        return min(1.0, float(self.figure.get_size_inches()[0]) / WIDTH)


class Curve(NamedTuple):
    """Values of one run over its logged steps."""

    steps: Sequence[float]
    values: Sequence[float]


class Line(NamedTuple):
    """A line in the panel of a group: one curve for each of its runs."""

    curve: Callable[[RunRecord], Curve]
    label: str  # in the legend
    colour: str
    style: object = "-"


class Band(NamedTuple):
    """Mean and range of several curves, at the steps that all of them have."""

    steps: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]


def band(curves: Sequence[Curve]) -> Band | None:
    """Return the mean and the band of curves; None for fewer than two curves or common steps.

    Nothing is interpolated: a step counts only if every curve has a finite value there. The band is
    mean +- sample deviation (n - 1) for three curves or more, and the range of two curves.
    """
    tables = [
        {step: v for step, v in zip(*curve, strict=True) if math.isfinite(v)} for curve in curves
    ]
    steps = sorted(set(tables[0]).intersection(*tables[1:])) if len(tables) > 1 else []
    if len(steps) < 2:
        return None
    rows = [[table[step] for table in tables] for step in steps]
    means = [fmean(row) for row in rows]
    if len(tables) == 2:
        return Band(steps, means, list(map(min, rows)), list(map(max, rows)))
    ends = [(mean - stdev(row), mean + stdev(row)) for mean, row in zip(means, rows, strict=True)]
    return Band(steps, means, [low for low, _ in ends], [high for _, high in ends])


def _draw_curves(axes: "Axes", found: Iterable[Curve], line: Line) -> None:
    """Draw thin curves of several runs and their mean with its band, or a thick one of one run."""
    curves = [curve for curve in found if len(curve.steps) > 1]
    look: dict[str, Any] = {"color": line.colour, "linestyle": line.style}
    for curve in curves:
        width, alpha = (1.6, 1.0) if len(curves) == 1 else (0.6, 0.5)
        axes.plot(*curve, linewidth=width, alpha=alpha, **look)
    if between := band(curves):
        axes.plot(between.steps, between.mean, linewidth=1.8, **look)
        axes.fill_between(between.steps, between.low, between.high, color=line.colour, alpha=0.18,
                          linewidth=0)  # fmt: skip
    if curves:
        axes.plot([], [], label=line.label, **look)


@contextmanager
def panels(titles: Sequence[str], y_label: str) -> Iterator[tuple["Figure", list["Axes"]]]:
    """Yield a figure with axes for each title; their common legend is drawn at the end."""
    rows = math.ceil(len(titles) / COLUMNS)
    with drawing(WIDTH, 1 + 2.1 * rows) as figure:
        grid = figure.subplots(rows, min(COLUMNS, len(titles)), sharey=True, squeeze=False)
        for axes, title in zip(grid.flat, titles, strict=False):
            axes.set_title(textwrap.fill(title, 34), fontsize=8, loc="left")
            axes.grid()
        for axes in list(grid.flat)[len(titles) :]:
            axes.set_visible(False)
        for axes in grid[:, 0]:
            axes.set_ylabel(y_label)
        yield figure, list(grid.flat)[: len(titles)]
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)


def panel_figures(
    name: str,
    groups: Sequence[Group],
    lines: Sequence[Line],
    y_label: str,
    caption: str,
    mark: Callable[["Axes", RunRecord], object] = lambda *_: None,
) -> Iterator[FigureFile]:
    """Yield figures of curves over the steps with a panel for each group, of at most 12 panels each.

    Curves of one value are not drawn, and runs without other curves do not count. `mark` adds marks
    of each run to a panel.
    """

    def is_drawn(run: RunRecord) -> bool:
        return any(len(line.curve(run).steps) > 1 for line in lines)

    drawn = [replace(group, runs=tuple(filter(is_drawn, group.runs))) for group in groups]
    drawn = [group for group in drawn if group.runs]
    parts = [drawn[start : start + PANELS] for start in range(0, len(drawn), PANELS)]
    for index, part in enumerate(parts):
        titles = [f"{group.label} (n = {len(group.runs)})" for group in part]
        with panels(titles, y_label) as (figure, grid):
            for axes, group in zip(grid, part, strict=True):
                for line in lines:
                    _draw_curves(axes, map(line.curve, group.runs), line)
                for run in group.runs:
                    mark(axes, run)
                axes.set_xlabel("step", fontsize=8)
                axes.tick_params(labelsize=8)
                axes.margins(x=0.02)
        which = f" Part {index + 1} of {len(parts)}." if len(parts) > 1 else ""
        yield FigureFile(numbered(name, index, len(parts)), figure, f"{caption}{which}")


def numbered(name: str, index: int, count: int) -> str:
    """Return the name of a figure, with a number if there are several of its kind."""
    return name if count == 1 else f"{name}_{index + 1}"


def legend_below(figure: "Figure", **style: object) -> None:
    """Draw the legend of a figure below its axes, in two columns."""
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, **style)


def height_of(lines: int) -> float:
    """Return the height in inches of axes with a legend of `lines` entries in two columns."""
    return 3.4 + 0.18 * math.ceil(lines / 2)
