"""Accuracy of linear probes and of fine-tuned classifiers."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from ssl_norm.evaluate.baselines import BASELINES
from ssl_norm.figures.style import BLUE, GREEN, GREY, ORANGE, VERMILION, drawing
from ssl_norm.reporting.columns import columns, measured, probe_words
from ssl_norm.reporting.figures.parts import (
    CURVES_READ,
    WIDTH,
    Curve,
    FigureFile,
    draw_curves,
    height_of,
    legend_below,
    panel_figures,
    styles,
)
from ssl_norm.reporting.frame import Group, all_runs
from ssl_norm.reporting.read import FINETUNE, RunRecord
from ssl_norm.text import counted, finite, statistic

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PROBES = (("top1", "linear top-1", BLUE), ("knn_top1", "kNN top-1", ORANGE))


def accuracy(groups: Sequence[Group]) -> Iterator[FigureFile]:
    """Yield linear top-1 against negative cosine; nothing if no run has both."""
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
        _draw_baselines(axes, all_runs(groups))
        axes.set(xlabel="negative cosine (1: collapsed)", ylabel="linear top-1")
        axes.grid()
        legend_below(figure)
    yield FigureFile(
        "accuracy",
        figure,
        f"Linear top-1 against the last negative cosine, a point a run: {runs} of "
        f"{len(all_runs(groups))} runs have both. Grey line: the same encoders at random "
        "initialisation, mean over the runs; shaded from the lowest to the highest; dotted: plain "
        "statistics of the pixels. A collapsed encoder falls back to the first, not to chance.",
    )


def _points(group: Group) -> list[tuple[float, float]]:
    """Return (negative cosine, linear top-1) of the runs that have both."""
    pairs = [(measured(r, "negative_cosine"), measured(r, "linear_top1")) for r in group.runs]
    return [(x, y) for x, y in pairs if x is not None and y is not None]


def _draw_baselines(axes: "Axes", runs: Sequence[RunRecord]) -> None:
    for (name, heading), style in zip(BASELINES.items(), ("-", ":"), strict=True):
        values = [measured(run, f"linear_top1_{name}") for run in runs]
        present = [value for value in values if value is not None]
        if present:
            axes.axhspan(min(present), max(present), color=GREY, alpha=0.12, linewidth=0)
            axes.axhline(fmean(present), color=GREY, linewidth=1, linestyle=style, label=heading)


def probes_over_steps(groups: Sequence[Group]) -> Iterator[FigureFile]:
    """Yield the accuracies of kept checkpoints over the steps, a panel for each group."""
    probed = _probed(groups)

    def caption(which: str, _: Sequence[Group]) -> str:
        return (
            f"Linear and kNN top-1 of the kept checkpoints over the steps{which}; step 0, where it "
            f"is drawn, is the untrained encoder. {_protocols(probed)} {CURVES_READ}"
        )

    return panel_figures("probes_over_steps", probed, _draw, "top-1", caption)


def accuracy_course(groups: Sequence[Group]) -> Iterator[FigureFile]:
    """Yield the path of each run through negative cosine and linear top-1, coloured by group."""
    probed = _probed(groups)
    ways = {group.label: [_way(run) for run in group.runs] for group in probed}
    count = sum(bool(way) for group in ways.values() for way in group)
    if not count:
        return
    with drawing(WIDTH, height_of(len(ways)) + 0.2) as figure:
        axes = figure.subplots()
        for (label, group), (marker, colour) in zip(ways.items(), styles(), strict=False):
            for index, way in enumerate(filter(None, group)):
                xs, ys = zip(*way, strict=True)
                axes.plot(xs, ys, "-", color=colour, linewidth=1, alpha=0.7)
                axes.plot(xs[:-1], ys[:-1], ".", color=colour, markersize=4)
                axes.plot(xs[-1], ys[-1], marker, color=colour, markersize=8,
                          label=None if index else textwrap.shorten(label, 60))  # fmt: skip
        axes.set(xlabel="negative cosine (1: collapsed)", ylabel="linear top-1")
        axes.grid()
        legend_below(figure)
    yield FigureFile(
        "accuracy_course",
        figure,
        "Linear top-1 of the kept checkpoints against the negative cosine that was logged last "
        f"before each, a line a run, {counted(count, 'run')}; the untrained encoder has none. "
        f"Large: the end. {_protocols(probed)} A run that leaves a collapse moves to the left and "
        "up.",
    )


def _probed(groups: Sequence[Group]) -> list[Group]:
    """Return the groups, reduced to runs with probes of several checkpoints."""
    return [
        replace(group, runs=runs)
        for group in groups
        if (runs := tuple(run for run in group.runs if len(run.probes.get("steps", ())) > 1))
    ]


def _protocols(groups: Sequence[Group]) -> str:
    found = {probe_words(run.probes) for run in all_runs(groups)}
    return f"{'Probe' if len(found) == 1 else 'Probes differ'}: {'; '.join(sorted(found))}."


def _draw(axes: "Axes", group: Group) -> None:
    for name, label, colour in PROBES:
        draw_curves(axes, [_curve(run, name) for run in group.runs], label, colour)


def _curve(run: RunRecord, name: str) -> Curve:
    rows = run.probes["steps"]
    found = {row["step"]: row[name] for row in rows if finite(row.get(name)) is not None}
    return Curve(list(found), list(found.values()))


def _way(run: RunRecord) -> list[tuple[float, float]]:
    """Return (negative cosine, linear top-1) of each probed step that has both, in order."""
    pairs = ((_cosine_at(run, step), y) for step, y in zip(*_curve(run, "top1"), strict=True))
    return [(cosine, top1) for cosine, top1 in pairs if cosine is not None]


def _cosine_at(run: RunRecord, step: float) -> float | None:
    """Return the negative cosine in the last row of metrics.csv up to a step; None without one."""
    rows = zip(run.metrics.get("step", ()), run.metrics.get("negative_cosine", ()), strict=False)
    until = [cosine for at, cosine in rows if at <= step]
    return finite(until[-1]) if until else None


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
    """Draw the accuracies of all groups under one kind of statistics, `aside` from their rows."""
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
        and any(len(_score_curve(run, KINDS[0]).steps) > 1 for run in group.runs)
    ]

    def caption(which: str, _: Sequence[Group]) -> str:
        return (
            f"Top-1 on the test images over the steps by kind of statistics{which}. {CURVES_READ}"
        )

    return panel_figures("accuracy_over_steps", scored, _draw_scores, "top-1", caption)


def _draw_scores(axes: "Axes", group: Group) -> None:
    for kind in KINDS:
        curves = [curve for run in group.runs if len((curve := _score_curve(run, kind)).steps) > 1]
        if curves:
            draw_curves(axes, curves, kind.label, kind.colour)


def _score_curve(run: RunRecord, kind: Kind) -> Curve:
    """Return the accuracy on the clean test images at each step, from the first row of the step."""
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
