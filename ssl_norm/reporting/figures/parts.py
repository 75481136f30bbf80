"""Parts of figures: files, line styles, curves with bands, and panels for groups of runs."""

import io
import math
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import cycle
from statistics import fmean, stdev
from typing import TYPE_CHECKING, NamedTuple

from ssl_norm.figures.style import BLUE, GREEN, GREY, ORANGE, VERMILION, drawing
from ssl_norm.reporting.frame import Group
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

    Example:
        >>> band([Curve([10, 20, 30], [1, 2, 3]), Curve([10, 30], [3, 5])])
        Band(steps=[10, 30], mean=[2.0, 4.0], low=[1, 3], high=[3, 5])
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


def draw_curves(
    axes: "Axes", curves: Sequence[Curve], label: str, colour: str, style: object = "-"
) -> None:
    """Draw thin curves of several runs and their mean with its band, or a thick one of one run."""
    for curve in curves:
        width, alpha = (1.6, 1.0) if len(curves) == 1 else (0.6, 0.5)
        axes.plot(*curve, color=colour, linestyle=style, linewidth=width, alpha=alpha)
    found = band(curves)
    if found:
        axes.plot(found.steps, found.mean, color=colour, linestyle=style, linewidth=1.8)
        axes.fill_between(found.steps, found.low, found.high, color=colour, alpha=0.18, linewidth=0)
    axes.plot([], [], color=colour, linestyle=style, label=label)


def panel_figures(
    name: str,
    groups: Sequence[Group],
    draw: Callable[["Axes", Group], None],
    y_label: str,
    caption: Callable[[str, Sequence[Group]], str],
) -> Iterator[FigureFile]:
    """Yield figures with a panel for each group, of at most 12 panels each.

    The arguments of `caption` are ", part 1 of 2", or "" for a single figure, and the groups of the
    figure.
    """
    parts = [groups[start : start + PANELS] for start in range(0, len(groups), PANELS)]
    for index, part in enumerate(parts):
        lines = math.ceil(len(part) / COLUMNS)
        with drawing(WIDTH, 0.7 + 2.1 * lines) as figure:
            grid = figure.subplots(lines, min(COLUMNS, len(part)), sharey=True, squeeze=False)
            for axes, group in zip(grid.flat, part, strict=False):
                draw(axes, group)
                title = textwrap.fill(f"{group.label} (n = {len(group.runs)})", 34)
                axes.set_title(title, fontsize=8, loc="left")
                axes.set_xlabel("step", fontsize=8)
                axes.tick_params(labelsize=8)
                axes.margins(x=0.02)
                axes.grid()
            for axes in list(grid.flat)[len(part) :]:
                axes.set_visible(False)
            for axes in grid[:, 0]:
                axes.set_ylabel(y_label)
            handles, labels = grid[0, 0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside lower center", ncols=4)
        which = f", part {index + 1} of {len(parts)}" if len(parts) > 1 else ""
        yield FigureFile(numbered(name, index, len(parts)), figure, caption(which, part))


def numbered(name: str, index: int, count: int) -> str:
    """Return the name of a figure, with a number if there are several of its kind."""
    return name if count == 1 else f"{name}_{index + 1}"


def legend_below(figure: "Figure", columns: int = 2, **style: object) -> None:
    """Draw the legend of a figure below its axes."""
    figure.legend(loc="outside lower center", ncols=columns, fontsize=8, **style)


def height_of(lines: int) -> float:
    """Return the height in inches of axes with a legend of `lines` entries in two columns."""
    return 3.4 + 0.18 * math.ceil(lines / 2)


def styles() -> Iterator[tuple[str, str]]:
    """Yield 56 pairs of a marker and a colour in turn; consecutive pairs differ in both."""
    return ((MARKERS[i % len(MARKERS)], COLOURS[i % len(COLOURS)]) for i in cycle(range(56)))
