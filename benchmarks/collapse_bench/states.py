"""Figure of the states of the verdict, on runs of CollapseBench.

    python -m benchmarks.collapse_bench.states docs/collapse_states.png
    python -m benchmarks.collapse_bench.states results/collapse_bench_wrong.png --wrong

The first has eight chosen runs, in two of which the verdict is wrong; the second has all runs on
which it is wrong.
"""

import argparse
from collections.abc import Iterator, Mapping
from itertools import groupby
from math import ceil, isnan
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.collapse_bench.score import TRACES, read_runs, wrong
from ssl_norm.bench import Trace, judge, read_trace
from ssl_norm.figures.style import BLUE, VERDICT_COLOURS, VERMILION, drawing, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COURSES = {
    "byol_cifar10_tiny_lr1_seed0": "healthy: BYOL",
    "byol-norms_digits_mlp_lr1_seed0": "complete: BYOL without norms in its heads",
    "vicreg-variance_digits_mlp_lr1_seed0": "collapsing: VICReg without its variance term",
    "simclr-width_digits_mlp_lr1_seed0": "dimensional: SimCLR, hidden layer of 2 units",
    "vicreg-variance-back500_digits_mlp_lr1_seed2": "recovered: the variance term is back at 500",
    "barlow-standardization_cifar10_tiny_lr1_seed0": "open: not collapsed by its end",
    "dino_cifar10_tiny_lr1_seed0": "false alarm: DINO as published",
    "jepa-stop_gradient_digits_vit_lr1_seed0": "missed: cosines meet at 0.24 (JEPA)",
}
LINES = (("positive_cosine", BLUE, "-"), ("negative_cosine", VERMILION, "-"))
ALPHA = 0.28
RANK = "effective rank, share of the possible one"


def verdicts_of(trace: Trace) -> Iterator[tuple[str, int, int]]:
    """Yield each verdict with its first step and the first step after it."""
    steps, verdicts = trace.steps, judge(trace)
    ends = [*steps[1:], steps[-1] + 1]
    for verdict, group in groupby(zip(verdicts, steps, ends, strict=True), key=lambda row: row[0]):
        rows = list(group)
        yield verdict, rows[0][1], rows[-1][2]


def draw_course(axes: "Axes", trace: Trace, title: str) -> None:
    """Draw cosines and rank over the steps; the background has the colours of the verdict."""
    columns, steps = trace.columns, trace.steps
    for verdict, first, end in verdicts_of(trace):
        axes.axvspan(first, end, color=VERDICT_COLOURS[verdict], alpha=ALPHA, linewidth=0)
    for name, colour, style in LINES:
        axes.plot(steps, columns[name], style, color=colour, lw=1.1, label=name.replace("_", " "))
    ranks = [
        (step, rank / most)
        for step, rank, most in zip(
            steps, columns["effective_rank"], columns["dimensions"], strict=True
        )
        if not isnan(rank)
    ]
    axes.plot(*zip(*ranks, strict=True), ":", color="black", lw=1.4, label=RANK)
    axes.set(xlim=(1, steps[-1]), ylim=(-0.3, 1.03))
    axes.set_title(title, fontsize=9.5, loc="left")


def courses_of_wrong() -> dict[str, str]:
    """Return the titles of all runs on which the verdict is wrong, by their names."""
    return {
        trace.name: f"{'missed' if fired is None else 'false alarm'}: {trace.name}"
        for trace, _, fired in wrong(read_runs(TRACES))
    }


def draw(path: Path, courses: Mapping[str, str], columns: int = 4) -> None:
    """Draw the courses of runs, titles by their names, into a PNG."""
    from matplotlib.patches import Patch

    rows = ceil(len(courses) / columns)
    with drawing(3.5 * columns, 1 + 2.4 * rows) as figure:
        panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
        for axes, (name, title) in zip(panels.flat, courses.items(), strict=False):
            draw_course(axes, read_trace(TRACES / f"{name}.csv.gz"), title)
        for axes in panels.flat[len(courses) :]:
            axes.set_axis_off()
        for axes in panels[-1]:
            axes.set_xlabel("step")
        lines, labels = panels[0, 0].get_legend_handles_labels()
        patches = [Patch(color=colour, alpha=ALPHA) for colour in VERDICT_COLOURS.values()]
        words = [f"verdict {verdict}" for verdict in VERDICT_COLOURS]
        figure.legend([*lines, *patches], [*labels, *words], loc="outside lower center", ncols=4)
        save_figure(figure, path)


def main() -> None:
    """Draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--wrong", action="store_true", help="all runs that are judged wrongly")
    options = parser.parse_args()
    if options.wrong:
        draw(options.path, courses_of_wrong(), columns=2)
    else:
        draw(options.path, COURSES)


if __name__ == "__main__":
    main()
