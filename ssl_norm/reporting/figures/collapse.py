"""Figures that show collapse: cosines over the steps, spectra, and heat maps over layers."""

import textwrap
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import cycle
from math import isfinite, nan
from typing import TYPE_CHECKING

from ssl_norm.figures import layer_figure
from ssl_norm.figures.style import BLUE, GREY, VERMILION, drawing
from ssl_norm.monitors.layers import LayerRow
from ssl_norm.reporting.figures.parts import (
    COLOURS,
    CURVES_READ,
    WIDTH,
    Curve,
    FigureFile,
    Line,
    height_of,
    legend_below,
    numbered,
    panel_figures,
)
from ssl_norm.reporting.frame import Group
from ssl_norm.reporting.read import RunRecord
from ssl_norm.text import counted, finite

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The dashed positive cosine is drawn over the negative one, so that both are visible at 1.
COSINES = {"negative_cosine": (VERMILION, "-"), "positive_cosine": (BLUE, (0, (4, 2)))}
FLOOR = 1e-12  # smaller eigenvalues are rounding errors


def cosines(groups: Sequence[Group]) -> Iterator[FigureFile]:
    """Yield both cosines over the steps, with a panel for each group of more than one row."""
    sizes = {len(group.runs) for group in groups}
    size = f"n = {sizes.pop()}" if len(sizes) == 1 else "n is in the titles"
    lines = [
        Line(partial(_logged, name), name.replace("_", " "), *look)
        for name, look in COSINES.items()
    ]
    caption = (
        f"Positive and negative cosine over the steps. {CURVES_READ} Dotted: the step at which a run "
        f"collapsed. At complete collapse both are 1. {counted(len(groups), 'group')}, {size}."
    )
    return panel_figures("cosines", groups, lines, "cosine", caption, _mark_collapse)


def _logged(name: str, run: RunRecord) -> Curve:
    values = run.metrics.get(name, ())
    return Curve(run.metrics["step"] if values else (), values)


def _mark_collapse(axes: "Axes", run: RunRecord) -> None:
    step = finite(run.summary.get("collapsed_at_step"))
    if step is not None:
        axes.axvline(step, color=GREY, linewidth=0.8, linestyle=":")
    axes.set_ylim(top=1.04)


def spectra(groups: Sequence[Group]) -> Iterator[FigureFile]:
    """Yield the last spectrum of each run; nothing if no run has one."""
    lines = {
        group.label: [run.spectra[-1][1] for run in group.runs if run.spectra]
        for group in groups
        if any(run.spectra for run in group.runs)
    }
    if not lines:
        return
    dashes = cycle(style for style in ("-", "--", ":", "-.") for _ in COLOURS)
    with drawing(WIDTH, height_of(len(lines))) as figure:
        axes = figure.subplots()
        for (label, found), colour, style in zip(
            lines.items(), cycle(COLOURS), dashes, strict=False
        ):
            for index, values in enumerate(found):
                axes.plot(
                    range(1, len(values) + 1),
                    [max(value, FLOOR) if isfinite(value) else value for value in values],
                    color=colour,
                    linestyle=style,
                    linewidth=1.1,
                    label=None if index else textwrap.shorten(label, 60),
                )
        axes.set(
            yscale="log", xlabel="index of the eigenvalue", ylabel="eigenvalue of the covariance"
        )
        axes.margins(x=0.01)
        axes.grid()
        legend_below(figure)
    yield FigureFile(
        "spectra",
        figure,
        "Eigenvalues of the covariance of the L2-normalized embeddings at the last measurement, "
        f"one line per run ({sum(map(len, lines.values()))} runs in {len(lines)} groups); smaller "
        f"values than {FLOOR:g} are drawn there. A line that falls early shows dimensional "
        "collapse; a line that is low from the start shows complete collapse.",
    )


def layers(groups: Sequence[Group]) -> Iterator[FigureFile]:
    """Yield the negative cosine of every layer, from the first run of each group that has it."""
    chosen = [(group, run) for group in groups for run in [r for r in group.runs if r.layers][:1]]
    for index, (group, run) in enumerate(chosen):
        yield FigureFile(
            numbered("layers", index, len(chosen)),
            layer_figure(
                [LayerRow(*(row.get(k, nan) for k in LayerRow._fields)) for row in run.layers]
            ),
            f"Layers at which {group.label} collapses: negative cosine of every layer over the "
            f"steps, and the norm of its gradient. One run of {len(group.runs)}: {run.name}, seed "
            f"{run.seed}. Grey: not measurable.",
        )
