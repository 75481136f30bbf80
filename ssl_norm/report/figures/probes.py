"""Accuracy of kept checkpoints: over the steps, and against the negative cosine."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ssl_norm.figures.style import BLUE, ORANGE, drawing
from ssl_norm.report.columns import probe_words
from ssl_norm.report.figures.parts import (
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
from ssl_norm.report.frame import Group, all_runs
from ssl_norm.report.read import RunRecord
from ssl_norm.text import counted, finite

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PROBES = (("top1", "linear top-1", BLUE), ("knn_top1", "kNN top-1", ORANGE))


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
    """Return an accuracy of a run over the probed steps."""
    found = {row["step"]: row[name] for row in run.probes["steps"] if _is_finite(row.get(name))}
    return Curve(list(found), list(found.values()))


def _is_finite(value: object) -> bool:
    return finite(value) is not None


def _way(run: RunRecord) -> list[tuple[float, float]]:
    """Return (negative cosine, linear top-1) of each probed step that has both, in their order."""
    pairs = ((_cosine_at(run, step), y) for step, y in zip(*_curve(run, "top1"), strict=True))
    return [(cosine, top1) for cosine, top1 in pairs if cosine is not None]


def _cosine_at(run: RunRecord, step: float) -> float | None:
    """Return the negative cosine in the last row of metrics.csv up to a step; None without one."""
    rows = zip(run.metrics.get("step", ()), run.metrics.get("negative_cosine", ()), strict=False)
    until = [cosine for at, cosine in rows if at <= step]
    return finite(until[-1]) if until else None
