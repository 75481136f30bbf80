"""Accuracy of linear probes and of fine-tuned classifiers."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import cycle
from statistics import fmean
from typing import TYPE_CHECKING

from ssl_norm.evaluate.baselines import BASELINES
from ssl_norm.figures.style import BLUE, GREEN, GREY, ORANGE, VERMILION, drawing
from ssl_norm.reporting.columns import columns, measured, probe_words
from ssl_norm.reporting.figures.parts import (
    COLOURS,
    CURVES_READ,
    MARKERS,
    WIDTH,
    Curve,
    FigureFile,
    Line,
    height_of,
    legend_below,
    panel_figures,
)
from ssl_norm.reporting.figures.study import study_figure
from ssl_norm.reporting.figures.study_data import Content, FigureSpec, Series, Value
from ssl_norm.reporting.frame import Group, all_runs
from ssl_norm.reporting.read import RunRecord
from ssl_norm.text import counted, finite
from ssl_norm.train.summary import SCORES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_Way = Sequence[tuple[float, float]]  # (negative cosine, linear top-1) of one run


def accuracy(groups: Sequence[Group]) -> Iterator[FigureFile]:
    """Yield linear top-1 against negative cosine; nothing if no run has both."""
    ways = {group.label: [_end(run) for run in group.runs] for group in groups}
    count = sum(bool(way) for group in ways.values() for way in group)
    if not count:
        return
    with drawing(WIDTH, height_of(len(ways))) as figure:
        axes = figure.subplots()
        _draw_ways(axes, ways)
        for (baseline, heading), style in zip(BASELINES.items(), ("-", ":"), strict=True):
            scores = [measured(run, f"linear_top1_{baseline}") for run in all_runs(groups)]
            present = [score for score in scores if score is not None]
            if present:
                axes.axhspan(min(present), max(present), color=GREY, alpha=0.12, linewidth=0)
                axes.axhline(
                    fmean(present), color=GREY, linewidth=1, linestyle=style, label=heading
                )
        legend_below(figure)
    yield FigureFile(
        "accuracy",
        figure,
        f"Linear top-1 against the last negative cosine, one point per run: {count} of "
        f"{len(all_runs(groups))} runs have both. Solid grey line: the same encoders at random "
        "initialisation, mean over the runs; shaded: their range; dotted: simple statistics of the "
        "pixels. The accuracy of a collapsed encoder is that of random initialisation, not chance.",
    )


def _end(run: RunRecord) -> _Way:
    cosine, top1 = (measured(run, name) for name in ("negative_cosine", "linear_top1"))
    return [] if cosine is None or top1 is None else [(cosine, top1)]


def _draw_ways(axes: "Axes", ways: Mapping[str, Sequence[_Way]]) -> None:
    """Draw a line for each run, with a large marker at its end, coloured by group."""
    styles = zip(cycle(MARKERS), cycle(COLOURS), strict=False)  # 56 pairs
    for (label, runs), (marker, colour) in zip(ways.items(), styles, strict=False):
        for index, way in enumerate(filter(None, runs)):
            xs, ys = zip(*way, strict=True)
            axes.plot(xs, ys, "-", color=colour, linewidth=1, alpha=0.7)
            axes.plot(xs[:-1], ys[:-1], ".", color=colour, markersize=4)
            axes.plot(xs[-1], ys[-1], marker, color=colour, markersize=8, alpha=0.85,
                      label=None if index else textwrap.shorten(label, 60))  # fmt: skip
    axes.set(xlabel="negative cosine (1: collapsed)", ylabel="linear top-1")
    axes.grid()


def probes_over_steps(groups: Sequence[Group]) -> Iterator[FigureFile]:
    """Yield accuracies of the kept checkpoints over the steps, with a panel for each group."""
    lines = [
        Line(partial(_curve, name), label, colour)
        for name, label, colour in (
            ("top1", "linear top-1", BLUE),
            ("knn_top1", "kNN top-1", ORANGE),
        )
    ]
    caption = (
        "Linear and kNN top-1 of the kept checkpoints over the steps; a point at step 0 is the "
        f"untrained encoder. {_protocols(groups)} {CURVES_READ}"
    )
    return panel_figures("probes_over_steps", groups, lines, "top-1", caption)


def accuracy_course(groups: Sequence[Group]) -> Iterator[FigureFile]:
    """Yield linear top-1 against negative cosine as a curve over each run, coloured by group."""
    ways = {group.label: [_way(run) for run in group.runs] for group in groups}
    ways = {label: runs for label, runs in ways.items() if any(runs)}
    if not ways:
        return
    with drawing(WIDTH, height_of(len(ways)) + 0.2) as figure:
        _draw_ways(figure.subplots(), ways)
        legend_below(figure)
    count = sum(bool(way) for runs in ways.values() for way in runs)
    yield FigureFile(
        "accuracy_course",
        figure,
        "Linear top-1 of the kept checkpoints against the negative cosine that was logged last "
        f"before each, one line per run ({counted(count, 'run')}); the untrained encoder is left "
        f"out. Large marker: end of the run. {_protocols(groups)} A run that recovers from collapse "
        "moves to the upper left.",
    )


def _protocols(groups: Sequence[Group]) -> str:
    found = {probe_words(run.probes) for run in all_runs(groups) if run.probes.get("steps")}
    return f"{'Probe' if len(found) == 1 else 'Probes differ'}: {'; '.join(sorted(found))}."


def _curve(name: str, run: RunRecord) -> Curve:
    rows = run.probes.get("steps", ())
    found = {row["step"]: row[name] for row in rows if finite(row.get(name)) is not None}
    return Curve(list(found), list(found.values()))


def _way(run: RunRecord) -> _Way:
    """Return negative cosine and linear top-1 of the evaluated steps, if there are several.

    The cosine is that of the last row of metrics.csv up to the step.
    """
    probed = _curve("top1", run)
    steps, cosines = (run.metrics.get(name, ()) for name in ("step", "negative_cosine"))
    way = []
    for step, top1 in zip(*probed, strict=True) if len(probed.steps) > 1 else ():
        until = [cosine for at, cosine in zip(steps, cosines, strict=False) if at <= step]
        if until and (cosine := finite(until[-1])) is not None:
            way.append((cosine, top1))
    return way


# Colour by column, for accuracies with each kind of statistics.
STATISTICS = {
    "top1": BLUE,
    "top1_exact": VERMILION,
    "top1_exact_labelled": ORANGE,
    "top1_batch": GREEN,
}


def _label(column: str) -> str:
    return columns()[column].heading.removeprefix("top-1, ")


def accuracy_by_statistics(groups: Sequence[Group]) -> Iterator[FigureFile]:
    """Yield the accuracies of the groups with each kind of statistics, and their table."""
    series, runs = list[Series](), set[RunRecord]()
    for column in STATISTICS:
        cells: dict[Value, list[float]] = {}
        for group in groups:
            found = {run: v for run in group.runs if (v := measured(run, column)) is not None}
            runs |= found.keys()
            cells |= {group.label: list(found.values())} if found else {}
        series += [Series((column,), _label(column), cells)] if cells else []
    if series:
        title = "Accuracy on the test images, by the statistics with which batch norms normalise"
        spec = FigureSpec(name="accuracy_by_statistics", x="group", y=[*STATISTICS], title=title)
        yield study_figure(Content(spec, series, len(runs)))


def accuracy_over_steps(groups: Sequence[Group]) -> Iterator[FigureFile]:
    """Yield accuracy over the steps, with a panel for each group that was scored more than once."""
    lines = [
        Line(partial(_score_curve, column), _label(column), colour)
        for column, colour in STATISTICS.items()
    ]
    caption = f"Top-1 on the test images over the steps by kind of statistics. {CURVES_READ}"
    return panel_figures("accuracy_over_steps", groups, lines, "top-1", caption)


def _score_curve(column: str, run: RunRecord) -> Curve:
    """Return the accuracy on the clean test images, from the first row of each step."""
    statistics, (origin, *_) = SCORES[column]
    wanted = {"split": "test", "domain": "clean"}
    wanted |= {"statistics": statistics, "statistics_from": origin}
    found: dict[int, float] = {}
    for row in run.evaluations:
        if wanted.items() <= row.items() and "top1" in row:
            found.setdefault(row["step"], row["top1"])
    return Curve(list(found), list(found.values()))
