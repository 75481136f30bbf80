"""Figure of the effective rank over the steps, with a panel for each group of runs."""

from collections.abc import Iterator, Sequence
from math import isfinite

from ssl_norm.reporting.figures.parts import CURVES_READ, Curve, FigureFile, Line, panel_figures
from ssl_norm.reporting.frame import Group
from ssl_norm.reporting.read import RunRecord


def rank_over_steps(groups: Sequence[Group]) -> Iterator[FigureFile]:
    """Yield the effective rank over the steps, with a panel for each group with several values."""
    lines = [Line(_curve, "effective rank", "black")]
    caption = f"Effective rank over the steps. {CURVES_READ}"
    return panel_figures("rank_over_steps", groups, lines, "effective rank", caption)


def _curve(run: RunRecord) -> Curve:
    """Return the values of a run at the steps that measured them."""
    rows = zip(run.metrics.get("step", ()), run.metrics.get("effective_rank", ()), strict=False)
    measured = [(step, value) for step, value in rows if isfinite(value)]
    return Curve([step for step, _ in measured], [value for _, value in measured])
