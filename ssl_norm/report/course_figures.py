"""The accuracy over a run, where its kept checkpoints were probed: over the steps, and against the negative cosine."""

import textwrap
from collections.abc import Iterator, Sequence
from itertools import cycle
from math import ceil, isfinite
from typing import TYPE_CHECKING

from ssl_norm.figures.style import BLUE, ORANGE, drawing
from ssl_norm.report.curves import Curve
from ssl_norm.report.figures import COLOURS, MARKERS, Drawing
from ssl_norm.report.grouping import Group
from ssl_norm.report.panels import CURVES_READ, WIDTH, draw_curves, panel_figures
from ssl_norm.report.read import RunRecord
from ssl_norm.report.remarks import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PROBES = (("top1", "linear top-1", BLUE), ("knn_top1", "kNN top-1", ORANGE))


def course_figures(groups: Sequence[Group]) -> Iterator[Drawing]:
    """Yield both figures of the runs that `tools/linear_eval.py kept=true` went over."""
    probed = [group for group in groups if any(len(run.probes) > 1 for run in group.runs)]
    for name, figure, _, which in panel_figures("probes_over_steps", probed, draw_probes, "top-1"):
        yield Drawing(
            name,
            figure,
            f"Linear and kNN top-1 of the kept checkpoints over the steps{which}; step 0 is the untrained encoder. "
            f"{CURVES_READ}",
        )
    courses = {group.label: [course_of(run) for run in group.runs] for group in probed}
    if any(map(any, courses.values())):
        yield course_figure(courses)


def draw_probes(axes: "Axes", group: Group) -> None:
    """Draw the accuracies over the steps of a group's runs, their means and bands."""
    for name, label, colour in PROBES:
        curves = [probe_curve(run, name) for run in group.runs if run.probes]
        draw_curves(axes, curves, label, colour)


def probe_curve(run: RunRecord, name: str) -> Curve:
    """Return an accuracy of a run over the steps."""
    rows = [row for row in run.probes if name in row]
    return Curve([row["step"] for row in rows], [row[name] for row in rows])


def course_of(run: RunRecord) -> list[tuple[float, float]]:
    """Return (negative cosine, linear top-1) of each probed step, in their order.

    The cosine is that of the last row of metrics.csv up to the step; a step before the first row is left out.
    """
    cosines = [last_cosine(run, row["step"]) for row in run.probes]
    return [
        (cosine, row["top1"])
        for cosine, row in zip(cosines, run.probes, strict=True)
        if cosine is not None and "top1" in row
    ]


def last_cosine(run: RunRecord, step: float) -> float | None:
    """Return the negative cosine that a run logged last up to a step, None where it logged none."""
    rows = zip(run.metrics.get("step", ()), run.metrics.get("negative_cosine", ()), strict=False)
    found = [cosine for at, cosine in rows if at <= step and isfinite(cosine)]
    return found[-1] if found else None


def course_figure(courses: dict[str, list[list[tuple[float, float]]]]) -> Drawing:
    """Return the courses of all runs in the plane of negative cosine and linear top-1, a colour a group."""
    with drawing(WIDTH, 3.6 + 0.18 * ceil(len(courses) / 2)) as figure:
        axes = figure.subplots()
        looks = zip(cycle(COLOURS), cycle(MARKERS), strict=False)
        for (label, group), (colour, marker) in zip(courses.items(), looks, strict=False):
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
        "Linear top-1 of the kept checkpoints against the negative cosine at their steps, a line a run, "
        f"{counted(count, 'run')}. Large: the last checkpoint. A run that leaves a collapse moves to the left and up.",
    )
