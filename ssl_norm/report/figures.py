"""The figures of a report, each with a caption that says what it shows and of how many runs."""

import textwrap
from collections.abc import Iterator, Sequence
from itertools import cycle
from math import ceil, isfinite
from typing import TYPE_CHECKING, NamedTuple

from ssl_norm.figures.style import BLUE, GREEN, GREY, ORANGE, VERMILION, drawing
from ssl_norm.report.curves import Curve
from ssl_norm.report.grouping import Group
from ssl_norm.report.measures import finite, measured
from ssl_norm.report.panels import CURVES_READ, WIDTH, draw_curves, panel_figures
from ssl_norm.report.read import RunRecord
from ssl_norm.report.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Negative below positive, which is dashed, so that both show where they meet at 1: as in ssl_norm.figures.
COSINES = (("negative_cosine", VERMILION, "-"), ("positive_cosine", BLUE, (0, (4, 2))))
COLOURS = (BLUE, VERMILION, GREEN, ORANGE, GREY, "#CC79A7", "#56B4E9", "black")
MARKERS = "osD^vPX"
FLOOR = 1e-12  # eigenvalues of directions below this are rounding error


class Drawing(NamedTuple):
    """A figure of the report.

    Attributes:
        name: of its PNG, without the ending.
        figure: what is drawn.
        caption: what it shows, and of how many runs.
        table: its numbers, to be read below it; None where other tables have them.
        numbers: the same for programs.
    """

    name: str
    figure: "Figure"
    caption: str
    table: Table | None = None
    numbers: Table | None = None


def all_figures(groups: Sequence[Group]) -> Iterator[Drawing]:
    """Yield every figure that the runs have the values for."""
    yield from cosine_figures(groups)
    yield from accuracy_figures(groups)
    yield from spectrum_figures(groups)


def cosine_figures(groups: Sequence[Group]) -> Iterator[Drawing]:
    """Yield both cosines over the steps, a panel a group with more than one row."""
    logged = [group for group in groups if any(map(has_cosines, group.runs))]
    for name, figure, part, which in panel_figures("cosines", logged, draw_cosines, "cosine"):
        yield Drawing(
            name,
            figure,
            f"Positive and negative cosine over the steps{which}. {CURVES_READ} Dotted: the step from which a run is "
            f"collapsed. At complete collapse both are 1. {group_sizes(part)}",
        )


def has_cosines(run: RunRecord) -> bool:
    """Whether a run logged a cosine more than once."""
    return any(len(run.metrics.get(name, ())) > 1 for name, _, _ in COSINES)


def draw_cosines(axes: "Axes", group: Group) -> None:
    """Draw the cosines of a group's runs, their mean and band."""
    for name, colour, style in COSINES:
        curves = [
            Curve(run.metrics["step"], run.metrics[name])
            for run in group.runs
            if name in run.metrics
        ]
        draw_curves(axes, curves, name.replace("_", " "), colour, style)
    for run in group.runs:
        step = finite(run.summary.get("collapsed_at_step"))
        if step is not None:
            axes.axvline(step, color=GREY, linewidth=0.8, linestyle=":")
    axes.set_ylim(top=1.04)


def accuracy_figures(groups: Sequence[Group]) -> Iterator[Drawing]:
    """Yield linear top-1 against negative cosine, a point a run; nothing where no run has both."""
    points = {group.label: accuracy_points(group) for group in groups}
    runs = sum(len(found) for found in points.values())
    if not runs:
        return
    with drawing(WIDTH, 3.4 + 0.18 * ceil(len(points) / 2)) as figure:
        axes = figure.subplots()
        for (label, found), (marker, colour) in zip(points.items(), styles(), strict=False):
            if found:
                x, y = zip(*found, strict=True)
                axes.plot(x, y, marker, color=colour, label=textwrap.shorten(label, 60), alpha=0.85)
        draw_random_init(axes, [run for group in groups for run in group.runs])
        axes.set(xlabel="negative cosine (1: collapsed)", ylabel="linear top-1")
        axes.grid()
        figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    total = sum(len(group.runs) for group in groups)
    yield Drawing(
        "accuracy",
        figure,
        f"Linear top-1 against the last negative cosine, a point a run: {runs} of {total} runs have both. Grey line: "
        "the same encoders at random initialisation, mean over the runs; shaded from the lowest to the highest. A "
        "collapsed encoder falls back to that line, not to chance.",
    )


def accuracy_points(group: Group) -> list[tuple[float, float]]:
    """Return (negative cosine, linear top-1) of the runs that have both."""
    pairs = [(measured(run, "negative_cosine"), measured(run, "linear_top1")) for run in group.runs]
    return [(x, y) for x, y in pairs if x is not None and y is not None]


def draw_random_init(axes: "Axes", runs: Sequence[RunRecord]) -> None:
    """Draw the accuracy of the untrained encoders as a line with their range."""
    values = [measured(run, "linear_top1_random_init") for run in runs]
    present = [value for value in values if value is not None]
    if present:
        axes.axhspan(min(present), max(present), color=GREY, alpha=0.12, linewidth=0)
        axes.axhline(
            sum(present) / len(present), color=GREY, linewidth=1, label="random initialisation"
        )


def spectrum_figures(groups: Sequence[Group]) -> Iterator[Drawing]:
    """Yield the last spectrum of each run; nothing where no run has one."""
    measured_groups = [group for group in groups if any(run.spectra for run in group.runs)]
    if not measured_groups:
        return
    with drawing(WIDTH, 3.4 + 0.18 * ceil(len(measured_groups) / 2)) as figure:
        axes = figure.subplots()
        looks = styles()
        for group, (_, colour), style in zip(measured_groups, looks, line_styles(), strict=False):
            for index, (_, values) in enumerate(
                run.spectra[-1] for run in group.runs if run.spectra
            ):
                axes.plot(
                    range(1, len(values) + 1),
                    [max(value, FLOOR) if isfinite(value) else value for value in values],
                    color=colour,
                    linestyle=style,
                    linewidth=1.1,
                    label=None if index else textwrap.shorten(group.label, 60),
                )
        axes.set(
            yscale="log", xlabel="index of the eigenvalue", ylabel="eigenvalue of the covariance"
        )
        axes.margins(x=0.01)
        axes.grid()
        figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    sizes = [sum(bool(run.spectra) for run in group.runs) for group in measured_groups]
    yield Drawing(
        "spectra",
        figure,
        "Eigenvalues of the covariance of the embeddings' directions at the last measurement of each run, a line a run "
        f"({sum(sizes)} runs in {len(sizes)} groups); under {FLOOR:g} drawn at it. A line that falls early shows "
        "dimensional collapse, one that lies low as a whole complete collapse.",
    )


def styles() -> Iterator[tuple[str, str]]:
    """Yield a marker and a colour for each group: 56 pairs that differ, in which neighbours differ in both."""
    return ((MARKERS[i % len(MARKERS)], COLOURS[i % len(COLOURS)]) for i in cycle(range(56)))


def line_styles() -> Iterator[str]:
    """Yield a style of line for each group, another one when the colours begin again."""
    return cycle(style for style in ("-", "--", ":", "-.") for _ in COLOURS)


def group_sizes(groups: Sequence[Group]) -> str:
    """Return how many runs stand behind each panel."""
    sizes = {len(group.runs) for group in groups}
    count = f"n = {sizes.pop()}" if len(sizes) == 1 else "n is in the titles"
    return f"{len(groups)} group{'s' if len(groups) > 1 else ''}, {count}."
