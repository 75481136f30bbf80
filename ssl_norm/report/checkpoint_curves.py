"""The accuracy over a run, where its kept checkpoints were probed: over the steps, and against the negative cosine."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING, Any

from ssl_norm.figures.style import BLUE, ORANGE, drawing
from ssl_norm.report.caveats import counted
from ssl_norm.report.curves import Curve
from ssl_norm.report.figures import Drawing, styles
from ssl_norm.report.grouping import Group
from ssl_norm.report.measures import finite, probe_words
from ssl_norm.report.panels import CURVES_READ, WIDTH, draw_curves, panel_figures
from ssl_norm.report.read import RunRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PROBES = (("top1", "linear top-1", BLUE), ("knn_top1", "kNN top-1", ORANGE))


def course_figures(groups: Sequence[Group]) -> Iterator[Drawing]:
    """Yield both figures of the runs that `tools/linear_eval.py kept=true` went over."""
    probed = [
        replace(group, runs=runs)
        for group in groups
        if (runs := tuple(run for run in group.runs if len(steps_of(run)) > 1))
    ]
    words = {probe_words(run.course) for group in probed for run in group.runs}
    probes = f"{'Probe' if len(words) == 1 else 'Probes differ'}: {'; '.join(sorted(words))}."
    for name, figure, _, which in panel_figures("probes_over_steps", probed, draw_probes, "top-1"):
        yield Drawing(
            name,
            figure,
            f"Linear and kNN top-1 of the kept checkpoints over the steps{which}; step 0, where it is drawn, is the "
            f"untrained encoder. {probes} {CURVES_READ}",
        )
    courses = {group.label: [course_of(run) for run in group.runs] for group in probed}
    if any(map(any, courses.values())):
        yield course_figure(courses, probes)


def steps_of(run: RunRecord) -> list[Mapping[str, Any]]:
    """Return the probed steps of a run."""
    return list(run.course.get("steps", []))


def draw_probes(axes: "Axes", group: Group) -> None:
    """Draw the accuracies over the steps of a group's runs, their means and bands."""
    for name, label, colour in PROBES:
        draw_curves(axes, [probe_curve(run, name) for run in group.runs], label, colour)


def probe_curve(run: RunRecord, name: str) -> Curve:
    """Return an accuracy of a run over the steps."""
    found = [
        (row["step"], value)
        for row in steps_of(run)
        if (value := finite(row.get(name))) is not None
    ]
    return Curve([step for step, _ in found], [value for _, value in found])


def course_of(run: RunRecord) -> list[tuple[float, float]]:
    """Return (negative cosine, linear top-1) of each probed step that has both, in their order."""
    curve = probe_curve(run, "top1")
    cosines = [cosine_at(run, step) for step in curve.steps]
    return [
        (cosine, top1)
        for cosine, top1 in zip(cosines, curve.values, strict=True)
        if cosine is not None
    ]


def cosine_at(run: RunRecord, step: float) -> float | None:
    """Return the negative cosine in the last row of metrics.csv up to a step, None where there is none."""
    rows = zip(run.metrics.get("step", ()), run.metrics.get("negative_cosine", ()), strict=False)
    until = [cosine for at, cosine in rows if at <= step]
    return finite(until[-1]) if until else None


def course_figure(courses: dict[str, list[list[tuple[float, float]]]], probes: str) -> Drawing:
    """Return the courses of all runs in the plane of negative cosine and linear top-1, a colour a group."""
    with drawing(WIDTH, 3.6 + 0.18 * ceil(len(courses) / 2)) as figure:
        axes = figure.subplots()
        for (label, group), (marker, colour) in zip(courses.items(), styles(), strict=False):
            for index, course in enumerate(filter(None, group)):
                xs, ys = zip(*course, strict=True)
                axes.plot(xs, ys, "-", color=colour, linewidth=1, alpha=0.7)
                axes.plot(xs[:-1], ys[:-1], ".", color=colour, markersize=4)
                axes.plot(xs[-1], ys[-1], marker, color=colour, markersize=8,
                          label=None if index else textwrap.shorten(label, 60))  # fmt: skip
        axes.set(xlabel="negative cosine (1: collapsed)", ylabel="linear top-1")
        axes.grid()
        figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    count = sum(bool(course) for group in courses.values() for course in group)
    return Drawing(
        "accuracy_course",
        figure,
        "Linear top-1 of the kept checkpoints against the negative cosine that was logged last before each, a line a "
        f"run, {counted(count, 'run')}; the untrained encoder has none. Large: the end. {probes} A run that leaves a "
        "collapse moves to the left and up.",
    )
