"""Curves over the steps in a panel for each group of runs."""

import textwrap
from collections.abc import Callable, Iterator, Sequence
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from ssl_norm.figures.style import drawing
from ssl_norm.report.curves import Curve, band
from ssl_norm.report.grouping import Group

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 7.1  # inches between the margins of A4
COLUMNS = 3
PANELS = 12  # in one figure, so that it fits a page
CURVES_READ = (
    "Thin: a run; thick: their mean, at the steps that all runs of the group have; band: mean +- sample standard "
    "deviation, or from the lower to the higher run where n = 2."
)


class Panels(NamedTuple):
    """A figure of panels.

    Attributes:
        name: of its PNG, numbered where there are several.
        figure: what is drawn.
        groups: of its panels.
        which: ", part 1 of 2" for a caption; empty where there is one figure.
    """

    name: str
    figure: "Figure"
    groups: Sequence[Group]
    which: str


def panel_figures(
    name: str,
    groups: Sequence[Group],
    draw: Callable[["Axes", Group], None],
    y_label: str,
) -> Iterator[Panels]:
    """Yield figures with a panel for each group, at most 12 panels a figure.

    Args:
        name: of the PNG.
        groups: in the order of the panels.
        draw: draws a group's curves, with labels, by :func:`draw_curves`.
        y_label: of the panels' common axis.
    """
    parts = [groups[start : start + PANELS] for start in range(0, len(groups), PANELS)]
    for index, part in enumerate(parts):
        lines = ceil(len(part) / COLUMNS)
        with drawing(WIDTH, 0.7 + 2.1 * lines) as figure:
            grid = figure.subplots(lines, min(COLUMNS, len(part)), sharey=True, squeeze=False)
            for axes, group in zip(grid.flat, part, strict=False):
                draw(axes, group)
                dress(axes, group)
            for axes in list(grid.flat)[len(part) :]:
                axes.set_visible(False)
            for axes in grid[:, 0]:
                axes.set_ylabel(y_label)
            handles, labels = grid[0, 0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside lower center", ncols=4)
        which = f", part {index + 1} of {len(parts)}" if len(parts) > 1 else ""
        yield Panels(numbered(name, index, len(parts)), figure, part, which)


def numbered(name: str, index: int, count: int) -> str:
    """Return the name of one of several figures of a kind; alone it needs no number."""
    return name if count == 1 else f"{name}_{index + 1}"


def dress(axes: "Axes", group: Group) -> None:
    """Give a panel its title, with the number of runs, and its axes."""
    axes.set_title(
        textwrap.fill(f"{group.label} (n = {len(group.runs)})", 34), fontsize=8, loc="left"
    )
    axes.set_xlabel("step", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.margins(x=0.02)
    axes.grid()


def draw_curves(
    axes: "Axes", curves: Sequence[Curve], label: str, colour: str, style: object = "-"
) -> None:
    """Draw the curve of each run, thin, and their mean with its band; a single run thick."""
    for curve in curves:
        width, alpha = (1.6, 1.0) if len(curves) == 1 else (0.6, 0.5)
        axes.plot(*curve, color=colour, linestyle=style, linewidth=width, alpha=alpha)
    found = band(curves)
    if found:
        axes.plot(found.steps, found.mean, color=colour, linestyle=style, linewidth=1.8)
        axes.fill_between(found.steps, found.low, found.high, color=colour, alpha=0.18, linewidth=0)
    axes.plot([], [], color=colour, linestyle=style, label=label)
