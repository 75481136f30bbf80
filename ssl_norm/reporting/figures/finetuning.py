"""Accuracy of fine-tuned classifiers by kind of batch statistics."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ssl_norm.figures.style import BLUE, GREEN, ORANGE, VERMILION, drawing
from ssl_norm.reporting.columns import columns, measured
from ssl_norm.reporting.figures.parts import (
    CURVES_READ,
    WIDTH,
    Curve,
    FigureFile,
    draw_curves,
    legend_below,
    panel_figures,
)
from ssl_norm.reporting.frame import Group, all_runs
from ssl_norm.reporting.read import FINETUNE, RunRecord
from ssl_norm.text import counted, statistic

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Kind(NamedTuple):
    """Kind of statistics: its column, its `statistics` and `statistics_from` in evaluations.csv."""

    column: str
    statistics: str
    origin: str
    colour: str
    marker: str

    @property
    def label(self) -> str:
        """Its name in legends."""
        return columns()[self.column].heading.removeprefix("top-1, ")


KINDS = (
    Kind("top1", "population", "", BLUE, "o"),
    Kind("top1_exact", "exact", "all", VERMILION, "s"),
    Kind("top1_exact_labelled", "exact", "labelled", ORANGE, "D"),
    Kind("top1_batch", "batch", "", GREEN, "^"),
)


def accuracy_by_statistics(groups: Sequence[Group]) -> Iterator[FigureFile]:
    """Yield a row for each group with its accuracy under each kind of statistics."""
    groups = [group for group in groups if group.runs[0].tool == FINETUNE]
    runs = all_runs(groups)
    if all(measured(run, kind.column) is None for run in runs for kind in KINDS):
        return
    with drawing(WIDTH, 1.3 + 0.34 * len(groups)) as figure:
        axes = figure.subplots()
        for index, kind in enumerate(KINDS):
            _draw_kind(axes, groups, kind, (index - (len(KINDS) - 1) / 2) * 0.16)
        axes.set_yticks(range(len(groups)), [textwrap.fill(group.label, 34) for group in groups])
        axes.set_ylim(len(groups) - 0.5, -0.5)
        axes.set_xlabel("top-1")
        axes.grid()
        legend_below(figure, len(KINDS))
    yield FigureFile(
        "accuracy_by_statistics",
        figure,
        "Top-1 on the test images by what the batch norms normalise with, "
        f"{counted(len(runs), 'run')} in {counted(len(groups), 'group')}. Light: single runs; "
        "bars: mean +- sample standard deviation.",
    )


def _draw_kind(axes: "Axes", groups: Sequence[Group], kind: Kind, aside: float) -> None:
    """Draw the accuracies of all groups under one kind of statistics, `aside` of their rows."""
    bars = []
    for row, group in enumerate(groups):
        values = [v for run in group.runs if (v := measured(run, kind.column)) is not None]
        heights = [row + aside] * len(values)
        axes.plot(values, heights, ".", color=kind.colour, alpha=0.4, markersize=4)
        found = statistic(values)
        if found.mean is not None:
            bars.append((row + aside, found.mean, found.deviation or 0.0))
    if bars:
        places, means, spreads = zip(*bars, strict=True)
        axes.errorbar(
            means, places, xerr=spreads, fmt=kind.marker, color=kind.colour, markersize=6,
            capsize=2, elinewidth=1, label=kind.label,
        )  # fmt: skip


def accuracy_over_steps(groups: Sequence[Group]) -> Iterator[FigureFile]:
    """Yield accuracy over the steps, a panel for each group that was scored more than once."""
    scored = [
        group
        for group in groups
        if group.runs[0].tool == FINETUNE
        and any(len(_curve(run, KINDS[0]).steps) > 1 for run in group.runs)
    ]

    def caption(which: str, _: Sequence[Group]) -> str:
        return (
            f"Top-1 on the test images over the steps by kind of statistics{which}. {CURVES_READ}"
        )

    return panel_figures("accuracy_over_steps", scored, _draw, "top-1", caption)


def _draw(axes: "Axes", group: Group) -> None:
    for kind in KINDS:
        curves = [curve for run in group.runs if len((curve := _curve(run, kind)).steps) > 1]
        if curves:
            draw_curves(axes, curves, kind.label, kind.colour)


def _curve(run: RunRecord, kind: Kind) -> Curve:
    """Return the accuracy on the clean test images at each step, by the first row of a step."""
    wanted = {
        "split": "test",
        "domain": "clean",
        "statistics": kind.statistics,
        "statistics_from": kind.origin,
    }
    found: dict[int, float] = {}
    for row in run.evaluations:
        if wanted.items() <= row.items():
            found.setdefault(row["step"], row.get("top1", None))
    found = {step: top1 for step, top1 in found.items() if top1 is not None}
    return Curve(list(found), list(found.values()))
