"""The figures that a study asks for: lines over a quantity with bands over seeds, beside published numbers."""

import textwrap
from collections.abc import Mapping, Sequence
from itertools import cycle
from math import ceil
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from ssl_norm.figures.style import GREY, drawing
from ssl_norm.report.caveats import counted
from ssl_norm.report.figure_spec import FigureSpec, Published
from ssl_norm.report.figure_table import cell, figure_numbers, figure_table
from ssl_norm.report.figures import COLOURS, MARKERS, Drawing
from ssl_norm.report.grouping import Statistic, statistic
from ssl_norm.report.panels import WIDTH
from ssl_norm.report.quantities import Value
from ssl_norm.report.read import RunRecord
from ssl_norm.report.series import Content, Series, content_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DASHES = ("-", (0, (5, 2)), (0, (6, 2, 1.5, 2)), (0, (3, 1, 1, 1, 1, 1)))
FEW = 12  # x values that each have a tick of their own


class Look(NamedTuple):
    """How a line is drawn."""

    colour: str
    dash: object
    marker: str


def study_figures(
    specs: Sequence[FigureSpec], runs: Sequence[RunRecord]
) -> tuple[list[Drawing], list[str]]:
    """Return the figures of a study that its runs hold the numbers for, and lines on what is not in them."""
    drawings, remarks = [], []
    for spec in specs:
        content, lines = content_of(spec, runs)
        remarks += lines
        if content is not None:
            drawings.append(study_figure(content))
            if spec.published and not content.numeric:
                remarks.append(
                    f"figure {spec.name}: published is not drawn, as {spec.x} is no number"
                )
    return drawings, remarks


def study_figure(content: Content) -> Drawing:
    """Return one figure with its numbers as a table."""
    spec = content.spec
    looks = looks_of(content.series)
    with drawing(WIDTH, 3.6 + 0.18 * ceil(len(content.series) / 2)) as figure:
        axes = figure.subplots()
        if content.measured_x:
            draw_scatter(axes, content, looks)
        elif content.numeric:
            draw_lines(axes, content, looks)
        else:
            draw_categories(axes, content, looks)
        if spec.published and content.numeric:
            draw_published(axes, spec.published, content.series, looks)
        axes.set_xlabel(spec.x_label or axis_words([spec.x]))
        axes.set_ylabel(spec.y_label or axis_words(spec.y))
        if spec.title:
            axes.set_title(textwrap.fill(spec.title, 90), loc="left")
        axes.grid()
        if len(content.series) > 1 or spec.published:
            figure.legend(loc="outside lower center", ncols=2, fontsize=8, handlelength=3)
    return Drawing(
        spec.name, figure, caption(content), figure_table(content), figure_numbers(content)
    )


def looks_of(series: Sequence[Series]) -> list[Look]:
    """Return how lines are drawn: where several values tell them, colour by the first and dashes by the others."""
    several = all(len(line.parts) > 1 for line in series)
    firsts = [line.parts[0] if several else line.label for line in series]
    others = [", ".join(line.parts[1:]) if several else "" for line in series]
    colours = dict(zip(dict.fromkeys(firsts), cycle(COLOURS), strict=False))
    dashes = dict(zip(dict.fromkeys(others), cycle(DASHES), strict=False))
    markers = dict(zip(dict.fromkeys(others if several else firsts), cycle(MARKERS), strict=False))
    return [
        Look(colours[first], dashes[other], markers[other if several else first])
        for first, other in zip(firsts, others, strict=True)
    ]


def statistics_of(line: Series) -> dict[Value, Statistic]:
    """Return mean and deviation of a line at each x."""
    return {x: statistic(values) for x, values in line.cells.items()}


def draw_lines(axes: "Axes", content: Content, looks: Sequence[Look]) -> None:
    """Draw means over a numeric x with bands of a deviation, and single runs as light points.

    On a logarithmic axis what stands at 0 or below is drawn across it.
    """
    log = content.spec.log_x
    for line, look in zip(content.series, looks, strict=True):
        found = sorted((float(x), values) for x, values in statistics_of(line).items())
        across = [values for x, values in found if log and x <= 0]
        over = [(x, values) for x, values in found if not (log and x <= 0)]
        for values in across:
            draw_across(axes, values, look, None if over else line.label)
        if not over:
            continue
        xs = [x for x, _ in over]
        draw_points(axes, line.cells, {x: float(x) for x in line.cells if float(x) in xs}, look)
        means = [values.mean or 0.0 for _, values in over]
        spreads = [values.deviation or 0.0 for _, values in over]
        axes.plot(xs, means, marker=look.marker, markersize=5, color=look.colour,
                  linestyle=look.dash, label=line.label)  # fmt: skip
        if any(spreads):
            low = [mean - spread for mean, spread in zip(means, spreads, strict=True)]
            high = [mean + spread for mean, spread in zip(means, spreads, strict=True)]
            axes.fill_between(xs, low, high, color=look.colour, alpha=0.16, linewidth=0)
    others = content.spec.published.lines.values() if content.spec.published else ()
    every = {float(x) for x in content.places} | {x for points in others for x, _ in points}
    places = sorted(x for x in every if not (log and x <= 0))
    if log and places:
        axes.set_xscale("log")
        axes.minorticks_off()
    if len(places) <= FEW and (log or len(places) > 1):
        axes.set_xticks(places, [f"{x:g}" for x in places])


def draw_across(axes: "Axes", values: Statistic, look: Look, label: str | None) -> None:
    """Draw a mean and its band over the whole width."""
    mean, spread = values.mean or 0.0, values.deviation or 0.0
    axes.axhline(mean, color=look.colour, linestyle="--", linewidth=1.2, label=label)
    axes.axhspan(mean - spread, mean + spread, color=look.colour, alpha=0.1, linewidth=0)


def draw_points(
    axes: "Axes", cells: Mapping[Value, Sequence[float]], places: Mapping[Value, float], look: Look
) -> None:
    """Draw single runs as light points, where there are several at any x."""
    if all(len(values) < 2 for values in cells.values()):
        return
    pairs = [(places[x], y) for x, values in cells.items() if x in places for y in values]
    if pairs:
        axes.plot(*zip(*pairs, strict=True), ".", color=look.colour, alpha=0.4, markersize=4)


def draw_categories(axes: "Axes", content: Content, looks: Sequence[Look]) -> None:
    """Draw means with a deviation to either side over the values of x, lines side by side, which nothing joins."""
    places = {x: float(index) for index, x in enumerate(content.places)}
    step = min(0.12, 0.7 / len(content.series))
    for index, (line, look) in enumerate(zip(content.series, looks, strict=True)):
        aside = (index - (len(content.series) - 1) / 2) * step
        xs = {x: places[x] + aside for x in line.cells}
        draw_points(axes, line.cells, {x: place + 0.3 * step for x, place in xs.items()}, look)
        found = statistics_of(line)
        axes.errorbar(
            [xs[x] for x in found],
            [values.mean or 0.0 for values in found.values()],
            yerr=[values.deviation or 0.0 for values in found.values()],
            fmt=look.marker, color=look.colour, markersize=6, capsize=2, elinewidth=1,
            label=line.label,
        )  # fmt: skip
    many = len(places) > FEW // 2
    names = [wrapped(cell(x), 24 if many else 14) for x in places]
    axes.set_xticks(list(places.values()), names)
    if many:
        axes.tick_params(axis="x", rotation=40)
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right")
    axes.set_xlim(-0.5, len(places) - 0.5)


def wrapped(name: str, width: int) -> str:
    """Return a name on lines of at most `width` characters, broken behind underscores, too.

    Example:
        >>> wrapped("bn_uncorrelated", 14).split()
        ['bn_', 'uncorrelated']
    """
    return textwrap.fill(name.replace("_", "_ "), width).replace("_ ", "_")


def draw_scatter(axes: "Axes", content: Content, looks: Sequence[Look]) -> None:
    """Draw a point a run over an x that is an outcome too, and the mean of each line as a larger one."""
    for line, look in zip(content.series, looks, strict=True):
        pairs = [(float(x), y) for x, values in line.cells.items() for y in values]
        xs, ys = zip(*pairs, strict=True)
        if len(pairs) > 1:
            axes.plot(xs, ys, look.marker, color=look.colour, alpha=0.4, markersize=4)
        axes.plot(
            fmean(xs), fmean(ys), look.marker, color=look.colour, markersize=8, label=line.label
        )
    if content.spec.log_x:
        axes.set_xscale("log")


def draw_published(
    axes: "Axes", published: Published, series: Sequence[Series], looks: Sequence[Look]
) -> None:
    """Draw published numbers dotted, in the colour of the line of the same name, else grey."""
    colours = {line.label: look.colour for line, look in zip(series, looks, strict=True)}
    colours |= {
        ", ".join(line.parts): look.colour for line, look in zip(series, looks, strict=True)
    }
    for name, points in published.lines.items():
        if points:
            axes.plot(*zip(*sorted(points), strict=True), ":", color=colours.get(name, GREY),
                      marker=".", markersize=4, linewidth=1.3,
                      label=None if name in colours else f"{published.label}: {name}")  # fmt: skip
    if set(published.lines) & set(colours):
        axes.plot([], [], ":", color="black", marker=".", label=f"dotted: {published.label}")


def axis_words(names: Sequence[str]) -> str:
    """Return what stands at an axis for some quantities.

    Example:
        >>> axis_words(["labels_per_class"]), axis_words(["top1", "top1_exact"])
        ('labels per class', 'top-1')
    """
    if len(names) > 1 and all("top1" in name for name in names):
        return "top-1"
    last_parts = (name.rpartition(".")[2] for name in names)
    return ", ".join(name.replace("top1", "top-1").replace("_", " ") for name in last_parts)


def caption(content: Content) -> str:
    """Return what a figure shows, and of how many runs."""
    spec = content.spec
    counts = {len(values) for line in content.series for values in line.cells.values()}
    several = max(counts) > 1
    size = f"n = {max(counts)}" if len(counts) == 1 else f"n = {min(counts)} to {max(counts)}"
    start = f"{spec.title.rstrip('.')}. " if spec.title else ""
    start += f"{axis_words(spec.y)} over {axis_words([spec.x])}, {counted(content.runs, 'run')}"
    if content.measured_x:
        return f"{start}. Small: a run; large: the mean of a line."
    start += f", {size} a point."
    if several:
        spread = "band" if content.numeric else "bars"
        start += f" Light: single runs; {spread}: mean +- sample standard deviation."
    if spec.log_x and content.numeric and any(float(x) <= 0 for x in content.places):
        start += f" Dashed across: {axis_words([spec.x])} 0."
    if spec.published and content.numeric:
        start += f" Dotted: {spec.published.label}."
    return start
