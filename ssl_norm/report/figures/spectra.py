"""Spectra of the embeddings, a line for each run."""

import textwrap
from collections.abc import Iterator, Sequence
from itertools import cycle
from math import isfinite

from ssl_norm.figures.style import drawing
from ssl_norm.report.figures.parts import COLOURS, WIDTH, FigureFile, height_of, legend_below
from ssl_norm.report.frame import Group

FLOOR = 1e-12  # eigenvalues of directions below this are rounding error


def spectra(groups: Sequence[Group]) -> Iterator[FigureFile]:
    """Yield the last spectrum of each run; nothing where no run has one."""
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
        "Eigenvalues of the covariance of the embeddings' directions at the last measurement of "
        f"each run, a line a run ({sum(map(len, lines.values()))} runs in {len(lines)} groups); "
        f"under {FLOOR:g} drawn at it. A line that falls early shows dimensional collapse, one "
        "that lies low as a whole complete collapse.",
    )
