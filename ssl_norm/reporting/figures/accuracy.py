"""Linear accuracy against the negative cosine, and of kept checkpoints over the steps."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING

from ssl_norm.figures.style import BLUE, GREY, ORANGE, drawing
from ssl_norm.reporting.columns import measured, probe_words
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
from ssl_norm.reporting.read import RunRecord
from ssl_norm.text import counted, finite

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PROBES = (("top1", "linear top-1", BLUE), ("knn_top1", "kNN top-1", ORANGE))


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
    """Yield the way of each run through negative cosine and linear top-1, a colour a group."""
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
    """Return the groups with those of their runs that have probes of several checkpoints."""
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
    """Return (negative cosine, linear top-1) of each probed step that has both, in their order."""
    pairs = ((_cosine_at(run, step), y) for step, y in zip(*_curve(run, "top1"), strict=True))
    return [(cosine, top1) for cosine, top1 in pairs if cosine is not None]


def _cosine_at(run: RunRecord, step: float) -> float | None:
    """Return the negative cosine in the last row of metrics.csv up to a step; None without one."""
    rows = zip(run.metrics.get("step", ()), run.metrics.get("negative_cosine", ()), strict=False)
    until = [cosine for at, cosine in rows if at <= step]
    return finite(until[-1]) if until else None
