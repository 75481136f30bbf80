"""Drawings and tables of the figures that studies ask for, next to published numbers."""

import textwrap
from collections.abc import Mapping, Sequence
from itertools import cycle
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from ssl_norm.figures.style import GREY, drawing
from ssl_norm.report.columns import columns
from ssl_norm.report.figures.parts import (
    COLOURS,
    MARKERS,
    WIDTH,
    FigureFile,
    height_of,
    legend_below,
)
from ssl_norm.report.figures.study_data import (
    Content,
    FigureSpec,
    Published,
    Series,
    content_of,
)
from ssl_norm.report.frame import Value
from ssl_norm.report.read import RunRecord
from ssl_norm.report.table import Table, number_cell, statistic_cells
from ssl_norm.text import Statistic, counted, statistic

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DASHES = ("-", (0, (5, 2)), (0, (6, 2, 1.5, 2)), (0, (3, 1, 1, 1, 1, 1)))
FEW = 12  # values of x that each have a tick
DECIMALS = 3


class LineStyle(NamedTuple):
    """Colour, dashes and marker of a line."""

    colour: str
    dash: object
    marker: str


def study_figures(
    specs: Sequence[FigureSpec], runs: Sequence[RunRecord]
) -> tuple[list[FigureFile], list[str]]:
    """Return the figures of a study that its runs hold numbers for, and lines on missing data."""
    files, remarks = [], []
    for spec in specs:
        content, lines = content_of(spec, runs)
        remarks += lines
        if content is not None:
            files.append(_study_figure(content))
            if spec.published and not content.numeric:
                remarks.append(
                    f"figure {spec.name}: published is not drawn, as {spec.x} is no number"
                )
    return files, remarks


def _study_figure(content: Content) -> FigureFile:
    spec = content.spec
    styles = _styles_of(content.series)
    with drawing(WIDTH, height_of(len(content.series)) + 0.2) as figure:
        axes = figure.subplots()
        if content.measured_x:
            _draw_scatter(axes, content, styles)
        elif content.numeric:
            _draw_lines(axes, content, styles)
        else:
            _draw_categories(axes, content, styles)
        if spec.published and content.numeric:
            _draw_published(axes, spec.published, content.series, styles)
        axes.set_xlabel(spec.x_label or axis_label([spec.x]))
        axes.set_ylabel(spec.y_label or axis_label(spec.y))
        if spec.title:
            axes.set_title(textwrap.fill(spec.title, 90), loc="left")
        axes.grid()
        if len(content.series) > 1 or spec.published:
            legend_below(figure, handlelength=3)
    tables = figure_table(content), figure_numbers(content)
    return FigureFile(spec.name, figure, _caption(content), *tables)


def _styles_of(series: Sequence[Series]) -> list[LineStyle]:
    """Return line styles; several values tell lines by colour (the first) and dashes (the rest)."""
    several = all(len(line.parts) > 1 for line in series)
    firsts = [line.parts[0] if several else line.label for line in series]
    others = [", ".join(line.parts[1:]) if several else "" for line in series]
    marked = others if several else firsts
    colours = dict(zip(dict.fromkeys(firsts), cycle(COLOURS), strict=False))
    dashes = dict(zip(dict.fromkeys(others), cycle(DASHES), strict=False))
    markers = dict(zip(dict.fromkeys(marked), cycle(MARKERS), strict=False))
    return [
        LineStyle(colours[first], dashes[other], markers[mark])
        for first, other, mark in zip(firsts, others, marked, strict=True)
    ]


def _statistics_of(line: Series) -> dict[Value, Statistic]:
    """Return mean and deviation of a line at each x."""
    return {x: statistic(values) for x, values in line.cells.items()}


def _draw_lines(axes: "Axes", content: Content, styles: Sequence[LineStyle]) -> None:
    """Draw means over a numeric x with bands of a deviation, and single runs as light points.

    On a logarithmic axis, a mean at x = 0 or below is a line across it.
    """
    log = content.spec.log_x
    for line, style in zip(content.series, styles, strict=True):
        found = sorted((float(x), values) for x, values in _statistics_of(line).items())
        across = [values for x, values in found if log and x <= 0]
        over = [(x, values) for x, values in found if not (log and x <= 0)]
        for values in across:
            _draw_across(axes, values, style, None if over else line.label)
        if not over:
            continue
        xs = [x for x, _ in over]
        _draw_points(axes, line.cells, {x: float(x) for x in line.cells if float(x) in xs}, style)
        means = [values.mean or 0.0 for _, values in over]
        spreads = [values.deviation or 0.0 for _, values in over]
        axes.plot(xs, means, marker=style.marker, markersize=5, color=style.colour,
                  linestyle=style.dash, label=line.label)  # fmt: skip
        if any(spreads):
            low = [mean - spread for mean, spread in zip(means, spreads, strict=True)]
            high = [mean + spread for mean, spread in zip(means, spreads, strict=True)]
            axes.fill_between(xs, low, high, color=style.colour, alpha=0.16, linewidth=0)
    others = content.spec.published.lines.values() if content.spec.published else ()
    every = {float(x) for x in content.places} | {x for points in others for x, _ in points}
    places = sorted(x for x in every if not (log and x <= 0))
    if log and places:
        axes.set_xscale("log")
        axes.minorticks_off()
    if len(places) <= FEW and (log or len(places) > 1):
        axes.set_xticks(places, [f"{x:g}" for x in places])


def _draw_across(axes: "Axes", values: Statistic, style: LineStyle, label: str | None) -> None:
    """Draw a mean and its band over the whole width."""
    mean, spread = values.mean or 0.0, values.deviation or 0.0
    axes.axhline(mean, color=style.colour, linestyle="--", linewidth=1.2, label=label)
    axes.axhspan(mean - spread, mean + spread, color=style.colour, alpha=0.1, linewidth=0)


def _draw_points(
    axes: "Axes",
    cells: Mapping[Value, Sequence[float]],
    places: Mapping[Value, float],
    style: LineStyle,
) -> None:
    """Draw single runs as light points, where there are several at any x."""
    if all(len(values) < 2 for values in cells.values()):
        return
    pairs = [(places[x], y) for x, values in cells.items() if x in places for y in values]
    if pairs:
        axes.plot(*zip(*pairs, strict=True), ".", color=style.colour, alpha=0.4, markersize=4)


def _draw_categories(axes: "Axes", content: Content, styles: Sequence[LineStyle]) -> None:
    """Draw means with deviations over the values of x as text, the lines side by side."""
    places = {x: float(index) for index, x in enumerate(content.places)}
    step = min(0.12, 0.7 / len(content.series))
    for index, (line, style) in enumerate(zip(content.series, styles, strict=True)):
        aside = (index - (len(content.series) - 1) / 2) * step
        xs = {x: places[x] + aside for x in line.cells}
        _draw_points(axes, line.cells, {x: place + 0.3 * step for x, place in xs.items()}, style)
        found = _statistics_of(line)
        axes.errorbar(
            [xs[x] for x in found],
            [values.mean or 0.0 for values in found.values()],
            yerr=[values.deviation or 0.0 for values in found.values()],
            fmt=style.marker, color=style.colour, markersize=6, capsize=2, elinewidth=1,
            label=line.label,
        )  # fmt: skip
    many = len(places) > FEW // 2
    names = [wrapped(_cell(x), 24 if many else 14) for x in places]
    axes.set_xticks(list(places.values()), names)
    if many:
        axes.tick_params(axis="x", rotation=40)
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right")
    axes.set_xlim(-0.5, len(places) - 0.5)


def wrapped(name: str, width: int) -> str:
    """Return a name on lines of at most `width` characters, broken at spaces and after underscores.

    Example:
        >>> wrapped("bn_uncorrelated", 14).split()
        ['bn_', 'uncorrelated']
    """
    return textwrap.fill(name.replace("_", "_ "), width).replace("_ ", "_")


def _draw_scatter(axes: "Axes", content: Content, styles: Sequence[LineStyle]) -> None:
    """Draw a point for each run over an outcome x, and the mean of each line as a larger one."""
    for line, style in zip(content.series, styles, strict=True):
        pairs = [(float(x), y) for x, values in line.cells.items() for y in values]
        xs, ys = zip(*pairs, strict=True)
        if len(pairs) > 1:
            axes.plot(xs, ys, style.marker, color=style.colour, alpha=0.4, markersize=4)
        axes.plot(
            fmean(xs), fmean(ys), style.marker, color=style.colour, markersize=8, label=line.label
        )
    if content.spec.log_x:
        axes.set_xscale("log")


def _draw_published(
    axes: "Axes", published: Published, series: Sequence[Series], styles: Sequence[LineStyle]
) -> None:
    """Draw published numbers dotted, in the colour of the line of the same name, else grey."""
    colours = {
        name: style.colour
        for line, style in zip(series, styles, strict=True)
        for name in (line.label, ", ".join(line.parts))
    }
    for name, points in published.lines.items():
        if points:
            axes.plot(*zip(*sorted(points), strict=True), ":", color=colours.get(name, GREY),
                      marker=".", markersize=4, linewidth=1.3,
                      label=None if name in colours else f"{published.label}: {name}")  # fmt: skip
    if set(published.lines) & set(colours):
        axes.plot([], [], ":", color="black", marker=".", label=f"dotted: {published.label}")


def axis_label(names: Sequence[str]) -> str:
    """Return the default label of an axis of some quantities.

    Example:
        >>> axis_label(["labels_per_class"]), axis_label(["top1", "top1_exact"])
        ('labels per class', 'top-1')
    """
    if len(names) > 1 and all("top1" in name for name in names):
        return "top-1"
    last_parts = (name.rpartition(".")[2] for name in names)
    return ", ".join(name.replace("top1", "top-1").replace("_", " ") for name in last_parts)


def _caption(content: Content) -> str:
    """Return the content of a figure, and the number of its runs."""
    spec = content.spec
    counts = {len(values) for line in content.series for values in line.cells.values()}
    several = max(counts) > 1
    size = f"n = {max(counts)}" if len(counts) == 1 else f"n = {min(counts)} to {max(counts)}"
    start = f"{spec.title.rstrip('.')}. " if spec.title else ""
    start += f"{axis_label(spec.y)} over {axis_label([spec.x])}, {counted(content.runs, 'run')}"
    if content.measured_x:
        return f"{start}. Small: a run; large: the mean of a line."
    start += f", {size} a point."
    if several:
        spread = "band" if content.numeric else "bars"
        start += f" Light: single runs; {spread}: mean +- sample standard deviation."
    if spec.log_x and content.numeric and any(float(x) <= 0 for x in content.places):
        start += f" Dashed across: {axis_label([spec.x])} 0."
    if spec.published and content.numeric:
        start += f" Dotted: {spec.published.label}."
    return start


def figure_table(content: Content) -> Table:
    """Return x down and lines across: mean +- sample deviation (n), and published numbers.

    Where x is an outcome, a row for each line with the means of both.
    """
    spec = content.spec
    decimals = max(columns()[y].decimals if y in columns() else DECIMALS for y in spec.y)
    if content.measured_x:
        rows = []
        for line in content.series:
            pairs = [(float(x), y) for x, values in line.cells.items() for y in values]
            both = (statistic(values).text(decimals) for values in zip(*pairs, strict=True))
            rows.append([line.label, *both])
        return Table(["line", spec.x, ", ".join(spec.y)], rows)
    others = _published_lines(content)
    places = list(content.places)
    if content.numeric:
        places = sorted({*places, *(x for points in others.values() for x in points)}, key=float)
    rows = [
        [
            _cell(x),
            *(statistic(line.cells.get(x, [])).text(decimals) for line in content.series),
            *(f"{points[x]:.{decimals}f}" if x in points else "-" for points in others.values()),
        ]
        for x in places
    ]
    return Table([spec.x, *(line.label for line in content.series), *others], rows)


def figure_numbers(content: Content) -> Table:
    """Return a row for each x of each line with mean, deviation and n.

    The deviation is empty for one run. Published numbers have their source before the line, no n.
    """
    rows = [
        [line.label, _cell(x), *statistic_cells(statistic(line.cells[x]))]
        for line in content.series
        for x in sorted(line.cells, key=content.places.index)
    ]
    for name, points in _published_lines(content).items():
        rows += [[name, _cell(x), number_cell(y), "", ""] for x, y in points.items()]
    return Table(["line", content.spec.x, "mean", "sd", "n"], rows)


def _published_lines(content: Content) -> dict[str, dict[Value, float]]:
    """Return y by x of every published line, under its source and name."""
    published = content.spec.published
    if published is None:
        return {}
    return {
        f"{published.label}: {content.spec.label_of([name])}": dict(points)
        for name, points in published.lines.items()
    }


def _cell(x: Value) -> str:
    return x if isinstance(x, str) else f"{x:g}"
