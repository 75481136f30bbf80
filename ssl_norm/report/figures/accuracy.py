"""Linear accuracy against the negative cosine, a point for each run."""

import textwrap
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from ssl_norm.figures.style import GREY, drawing
from ssl_norm.report.columns import measured
from ssl_norm.report.figures.parts import WIDTH, FigureFile, height_of, legend_below, styles
from ssl_norm.report.frame import Group, all_runs
from ssl_norm.report.read import RunRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def accuracy(groups: Sequence[Group]) -> Iterator[FigureFile]:
    """Yield linear top-1 against negative cosine; nothing where no run has both."""
    points = {group.label: _points(group) for group in groups}
    runs = sum(map(len, points.values()))
    if not runs:
        return
    with drawing(WIDTH, height_of(len(points))) as figure:
        axes = figure.subplots()
        for (label, found), (marker, colour) in zip(points.items(), styles(), strict=False):
            if found:
                x, y = zip(*found, strict=True)
                axes.plot(x, y, marker, color=colour, label=textwrap.shorten(label, 60), alpha=0.85)
        _draw_random_init(axes, all_runs(groups))
        axes.set(xlabel="negative cosine (1: collapsed)", ylabel="linear top-1")
        axes.grid()
        legend_below(figure)
    yield FigureFile(
        "accuracy",
        figure,
        f"Linear top-1 against the last negative cosine, a point a run: {runs} of "
        f"{len(all_runs(groups))} runs have both. Grey line: the same encoders at random "
        "initialisation, mean over the runs; shaded from the lowest to the highest. A collapsed "
        "encoder falls back to that line, not to chance.",
    )


def _points(group: Group) -> list[tuple[float, float]]:
    """Return (negative cosine, linear top-1) of the runs that have both."""
    pairs = [(measured(r, "negative_cosine"), measured(r, "linear_top1")) for r in group.runs]
    return [(x, y) for x, y in pairs if x is not None and y is not None]


def _draw_random_init(axes: "Axes", runs: Sequence[RunRecord]) -> None:
    values = [measured(run, "linear_top1_random_init") for run in runs]
    present = [value for value in values if value is not None]
    if present:
        axes.axhspan(min(present), max(present), color=GREY, alpha=0.12, linewidth=0)
        axes.axhline(fmean(present), color=GREY, linewidth=1, label="random initialisation")
