"""Figure of the effective rank over the steps, with a panel for each group of runs."""

from collections.abc import Iterator, Sequence
from math import isfinite
from typing import TYPE_CHECKING

from ssl_norm.reporting.figures.parts import (
    CURVES_READ,
    Curve,
    FigureFile,
    draw_curves,
    panel_figures,
)
from ssl_norm.reporting.frame import Group

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME = "effective_rank"


def rank_over_steps(groups: Sequence[Group]) -> Iterator[FigureFile]:
    """Yield the effective rank over the steps, with a panel for each group with several values."""
    measured = [group for group in groups if any(len(curve.steps) > 1 for curve in _curves(group))]
    return panel_figures("rank_over_steps", measured, _draw, "effective rank", _caption)


def _curves(group: Group) -> list[Curve]:
    """Return the values of each run at the steps that measured them."""
    found = []
    for run in group.runs:
        rows = zip(run.metrics.get("step", ()), run.metrics.get(NAME, ()), strict=False)
        measured = [(step, value) for step, value in rows if isfinite(value)]
        found.append(Curve([step for step, _ in measured], [value for _, value in measured]))
    return found


def _draw(axes: "Axes", group: Group) -> None:
    draw_curves(axes, _curves(group), "effective rank", "black")


def _caption(which: str, groups: Sequence[Group]) -> str:
    return f"Effective rank over the steps{which}. {CURVES_READ}"
