"""What is drawn of runs of tools/finetune.py unless their study says what: accuracy by kind of statistics."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ssl_norm.figures.style import BLUE, GREEN, ORANGE, VERMILION, drawing
from ssl_norm.report.caveats import counted
from ssl_norm.report.curves import Curve
from ssl_norm.report.figures import Drawing
from ssl_norm.report.grouping import Group, statistic
from ssl_norm.report.measures import BY_NAME, measured
from ssl_norm.report.panels import CURVES_READ, WIDTH, draw_curves, panel_figures
from ssl_norm.report.quantities import Value
from ssl_norm.report.read import RunRecord
from ssl_norm.report.run_files import FINETUNE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Measure, statistics and statistics_from in evaluations.csv, colour, marker.
KINDS = (
    ("top1", "population", "", BLUE, "o"),
    ("top1_exact", "exact", "all", VERMILION, "s"),
    ("top1_exact_labelled", "exact", "labelled", ORANGE, "D"),
    ("top1_batch", "batch", "", GREEN, "^"),
)


def finetune_figures(groups: Sequence[Group]) -> Iterator[Drawing]:
    """Yield accuracy by kind of statistics, and over the steps where runs were scored more than once."""
    found = [group for group in groups if group.runs[0].tool == FINETUNE]
    if any(
        measured(run, name) is not None
        for group in found
        for run in group.runs
        for name, *_ in KINDS
    ):
        yield by_statistics(found)
    yield from over_steps(found)


def by_statistics(groups: Sequence[Group]) -> Drawing:
    """Return a row a group with its accuracy under each kind of statistics."""
    with drawing(WIDTH, 1.3 + 0.34 * len(groups)) as figure:
        axes = figure.subplots()
        for index, (name, _, _, colour, marker) in enumerate(KINDS):
            aside = (index - (len(KINDS) - 1) / 2) * 0.16
            rows = []
            for row, group in enumerate(groups):
                values = [value for run in group.runs if (value := measured(run, name)) is not None]
                axes.plot(
                    values, [row + aside] * len(values), ".", color=colour, alpha=0.4, markersize=4
                )
                rows.append((row + aside, statistic(values)))
            shown = [(place, s.mean, s.deviation or 0.0) for place, s in rows if s.mean is not None]
            if shown:
                places, means, spreads = zip(*shown, strict=True)
                axes.errorbar(
                    means, places, xerr=spreads, fmt=marker, color=colour, markersize=6, capsize=2,
                    elinewidth=1, label=BY_NAME[name].heading.removeprefix("top-1, "),
                )  # fmt: skip
        axes.set_yticks(range(len(groups)), [textwrap.fill(group.label, 34) for group in groups])
        axes.set_ylim(len(groups) - 0.5, -0.5)
        axes.set_xlabel("top-1")
        axes.grid()
        figure.legend(loc="outside lower center", ncols=len(KINDS), fontsize=8)
    runs = sum(len(group.runs) for group in groups)
    return Drawing(
        "accuracy_by_statistics",
        figure,
        f"Top-1 on the test images by what the batch norms normalise with, {counted(runs, 'run')} in "
        f"{counted(len(groups), 'group')}. Light: "
        "single runs; bars: mean +- sample standard deviation.",
    )


def over_steps(groups: Sequence[Group]) -> Iterator[Drawing]:
    """Yield accuracy over the steps, a panel a group that was scored more than once."""
    scored = [
        group for group in groups if any(len(c.steps) > 1 for c in curves_of(group, KINDS[0]))
    ]
    for name, figure, _, which in panel_figures("accuracy_over_steps", scored, draw_steps, "top-1"):
        yield Drawing(
            name,
            figure,
            f"Top-1 on the test images over the steps by kind of statistics{which}. {CURVES_READ}",
        )


def draw_steps(axes: "Axes", group: Group) -> None:
    """Draw accuracy over the steps of a group's runs, their means and bands."""
    for kind in KINDS:
        curves = [curve for curve in curves_of(group, kind) if len(curve.steps) > 1]
        if curves:
            heading = BY_NAME[kind[0]].heading.removeprefix("top-1, ")
            draw_curves(axes, curves, heading, kind[3])


def curves_of(group: Group, kind: tuple[str, str, str, str, str]) -> list[Curve]:
    """Return the accuracy over the steps of each run of a group under one kind of statistics."""
    return [curve_of(run, kind[1], kind[2]) for run in group.runs]


def curve_of(run: RunRecord, statistics: str, origin: str) -> Curve:
    """Return the accuracy of a run on the clean test images at each step: of several rows of a step the first."""
    found: dict[Value, Value] = {}
    for row in run.evaluations:
        place = (
            row.get("split"),
            row.get("domain"),
            row.get("statistics"),
            row.get("statistics_from"),
        )
        if place == ("test", "clean", statistics, origin):
            found.setdefault(row["step"], row.get("top1", ""))
    numbers = {step: top1 for step, top1 in found.items() if isinstance(top1, float)}
    return Curve([float(step) for step in numbers], list(numbers.values()))
