"""Cosines over the steps, a panel for each group of runs."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ssl_norm.figures.style import BLUE, GREY, VERMILION
from ssl_norm.report.figures.parts import (
    CURVES_READ,
    Curve,
    FigureFile,
    draw_curves,
    panel_figures,
)
from ssl_norm.report.frame import Group
from ssl_norm.report.read import RunRecord
from ssl_norm.text import counted, finite

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Negative below positive, which is dashed, so that both show where they meet at 1.
COSINES = (("negative_cosine", VERMILION, "-"), ("positive_cosine", BLUE, (0, (4, 2))))


def cosines(groups: Sequence[Group]) -> Iterator[FigureFile]:
    """Yield both cosines over the steps, a panel for each group with more than one row."""
    logged = [group for group in groups if any(map(_has_cosines, group.runs))]
    return panel_figures("cosines", logged, _draw, "cosine", _caption)


def _has_cosines(run: RunRecord) -> bool:
    return any(len(run.metrics.get(name, ())) > 1 for name, _, _ in COSINES)


def _draw(axes: "Axes", group: Group) -> None:
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


def _caption(which: str, groups: Sequence[Group]) -> str:
    sizes = {len(group.runs) for group in groups}
    size = f"n = {sizes.pop()}" if len(sizes) == 1 else "n is in the titles"
    return (
        f"Positive and negative cosine over the steps{which}. {CURVES_READ} Dotted: the step from "
        "which a run is collapsed. At complete collapse both are 1. "
        f"{counted(len(groups), 'group')}, {size}."
    )
