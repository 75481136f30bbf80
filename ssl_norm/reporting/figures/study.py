"""Drawings and tables of the figures that studies define, including published numbers."""

import textwrap
from collections.abc import Mapping, Sequence
from operator import add, sub
from typing import TYPE_CHECKING, Any

from ssl_norm.figures.style import GREY, drawing
from ssl_norm.reporting.columns import columns
from ssl_norm.reporting.figures.parts import (
    COLOURS,
    MARKERS,
    WIDTH,
    FigureFile,
    height_of,
    legend_below,
)
from ssl_norm.reporting.figures.study_data import (
    Content,
    FigureSpec,
    Published,
    Series,
    Value,
    content_of,
)
from ssl_norm.reporting.read import RunRecord
from ssl_norm.reporting.table import Table, number_cell, statistic_cells
from ssl_norm.text import counted, statistic, unique

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DASHES = ("-", (0, (5, 2)), (0, (6, 2, 1.5, 2)), (0, (3, 1, 1, 1, 1, 1)))
FEW = 12  # up to this number of values of x, each has a tick
DECIMALS = 3
_Style = tuple[str, object, str]  # colour, dashes and marker of a line
_Styled = Sequence[tuple[Series, _Style]]


def study_figures(
    specs: Sequence[FigureSpec], runs: Sequence[RunRecord]
) -> tuple[list[FigureFile], list[str]]:
    """Return the figures of a study, if runs have data for them, and lines on missing data."""
    files, remarks = [], []
    for spec in specs:
        content, lines = content_of(spec, runs)
        remarks += lines
        if content is not None:
            files.append(study_figure(content))
            if spec.published and not content.numeric:
                remarks.append(
                    f"figure {spec.name}: published numbers are not drawn: {spec.x} is not a number"
                )
    return files, remarks


def study_figure(content: Content) -> FigureFile:
    """Draw a figure, and make its tables."""
    spec = content.spec
    lines = _with_styles(content.series)
    with drawing(WIDTH, height_of(len(lines)) + 0.2) as figure:
        axes = figure.subplots()
        if content.numeric:
            _draw_lines(axes, content, lines)
        else:
            _draw_categories(axes, content, lines)
        if spec.published and content.numeric:
            _draw_published(axes, spec.published, lines)
        axes.set_xlabel(spec.x_label or axis_label([spec.x]))
        axes.set_ylabel(spec.y_label or axis_label(spec.y))
        if spec.title:
            axes.set_title(textwrap.fill(spec.title, 90), loc="left")
        axes.grid()
        if len(lines) > 1 or spec.published:
            legend_below(figure, handlelength=3)
    tables = figure_table(content), figure_numbers(content)
    return FigureFile(spec.name, figure, _caption(content), *tables)


def _with_styles(series: Sequence[Series]) -> _Styled:
    """Return lines with styles; the first value sets the colour, the other values the dashes."""
    several = all(len(line.parts) > 1 for line in series)
    values = [
        (line.parts[0], ", ".join(line.parts[1:])) if several else (line.label, "")
        for line in series
    ]
    firsts, others = (unique(names) for names in zip(*values, strict=True))
    styled = []
    for line, (first, other) in zip(series, values, strict=True):
        colour, dashes = firsts.index(first), others.index(other)
        marker = MARKERS[(dashes if several else colour) % len(MARKERS)]
        style = COLOURS[colour % len(COLOURS)], DASHES[dashes % len(DASHES)], marker
        styled.append((line, style))
    return styled


def _draw_lines(axes: "Axes", content: Content, lines: _Styled) -> None:
    """Draw means over a numeric x with bands of one deviation, and single runs as light points.

    On a logarithmic axis, a mean at x <= 0 is drawn as a horizontal line.
    """
    log = content.spec.log_x
    for line, (colour, dash, marker) in lines:
        xs = sorted((x for x in line.cells if not (log and float(x) <= 0)), key=float)
        for x in sorted(line.cells.keys() - {*xs}, key=float):
            mean, spread = _mean_and_deviation(line.cells[x])
            label = None if xs else line.label
            axes.axhline(mean, color=colour, linestyle="--", linewidth=1.2, label=label)
            axes.axhspan(mean - spread, mean + spread, color=colour, alpha=0.1, linewidth=0)
        if not xs:
            continue
        places = [float(x) for x in xs]
        _draw_points(axes, line, dict(zip(xs, places, strict=True)), colour)
        means, spreads = zip(*(_mean_and_deviation(line.cells[x]) for x in xs), strict=True)
        axes.plot(places, means, marker=marker, markersize=5, color=colour, linestyle=dash,
                  label=line.label)  # fmt: skip
        if any(spreads):
            low, high = [*map(sub, means, spreads)], [*map(add, means, spreads)]
            axes.fill_between(places, low, high, color=colour, alpha=0.16, linewidth=0)
    published = content.spec.published.lines.values() if content.spec.published else ()
    every = {float(x) for x in content.places} | {x for points in published for x, _ in points}
    ticks = sorted(x for x in every if not (log and x <= 0))
    if log and ticks:
        axes.set_xscale("log")
        axes.minorticks_off()
    if len(ticks) <= FEW and (log or len(ticks) > 1):
        axes.set_xticks(ticks, [f"{x:g}" for x in ticks])


def _mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    found = statistic(values)
    return found.mean or 0.0, found.deviation or 0.0


def _draw_points(axes: "Axes", line: Series, places: Mapping[Value, float], colour: str) -> None:
    if any(len(values) > 1 for values in line.cells.values()):
        pairs = [(place, y) for x, place in places.items() for y in line.cells[x]]
        axes.plot(*zip(*pairs, strict=True), ".", color=colour, alpha=0.4, markersize=4)


def _draw_categories(axes: "Axes", content: Content, lines: _Styled) -> None:
    places = {x: float(index) for index, x in enumerate(content.places)}
    step = min(0.12, 0.7 / len(lines))
    for index, (line, (colour, _, marker)) in enumerate(lines):
        aside = (index - (len(lines) - 1) / 2) * step
        xs = {x: places[x] + aside for x in line.cells}
        _draw_points(axes, line, {x: place + 0.3 * step for x, place in xs.items()}, colour)
        means, spreads = zip(*map(_mean_and_deviation, line.cells.values()), strict=True)
        axes.errorbar([*xs.values()], means, yerr=spreads, fmt=marker, color=colour, markersize=6,
                      capsize=2, elinewidth=1, label=line.label)  # fmt: skip
    many = len(places) > FEW // 2
    # Lines of names break at spaces and after underscores.
    broken = [textwrap.fill(_cell(x).replace("_", "_ "), 24 if many else 14) for x in places]
    names = [name.replace("_ ", "_") for name in broken]
    turned: dict[str, Any] = {"rotation": 40, "ha": "right"} if many else {}
    axes.set_xticks(list(places.values()), names, **turned)
    axes.set_xlim(-0.5, len(places) - 0.5)


def _draw_published(axes: "Axes", published: Published, lines: _Styled) -> None:
    """Draw published numbers as dotted lines in the colour of a line of the same name, or grey."""
    names = [(line.label, ", ".join(line.parts)) for line, _ in lines]
    colours = {
        name: style[0] for pair, (_, style) in zip(names, lines, strict=True) for name in pair
    }
    for name, points in published.lines.items():
        if points:
            axes.plot(*zip(*sorted(points), strict=True), ":", color=colours.get(name, GREY),
                      marker=".", markersize=4, linewidth=1.3,
                      label=None if name in colours else f"{published.label}: {name}")  # fmt: skip
    if published.lines.keys() & colours.keys():
        axes.plot([], [], ":", color="black", marker=".", label=f"dotted: {published.label}")


def axis_label(names: Sequence[str]) -> str:
    """Return the default label of an axis that shows these quantities.

    Example:
        >>> axis_label(["labels_per_class"]), axis_label(["top1", "top1_exact"])
        ('labels per class', 'top-1')
    """
    if len(names) > 1 and all("top1" in name for name in names):
        return "top-1"
    last_parts = (name.rpartition(".")[2] for name in names)
    return ", ".join(name.replace("top1", "top-1").replace("_", " ") for name in last_parts)


def _caption(content: Content) -> str:
    spec, x = content.spec, axis_label([content.spec.x])
    counts = {len(values) for line in content.series for values in line.cells.values()}
    size = f"{max(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
    text = f"{spec.title.rstrip('.')}. " if spec.title else ""
    text += f"{axis_label(spec.y)} over {x}, {counted(content.runs, 'run')}, n = {size} per point."
    if max(counts) > 1:
        spread = "band" if content.numeric else "bars"
        text += f" Light: single runs; {spread}: mean +- sample standard deviation."
    if spec.log_x and content.numeric and any(float(x) <= 0 for x in content.places):
        text += f" Dashed horizontal line: {x} 0."
    return text + (
        f" Dotted: {spec.published.label}." if spec.published and content.numeric else ""
    )


def figure_table(content: Content) -> Table:
    """Return a row for each x and a column for each line: mean +- sample deviation (n).

    Published lines have columns as well.
    """
    spec = content.spec
    decimals = max(columns()[y].decimals if y in columns() else DECIMALS for y in spec.y)
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
    """Return mean, deviation and n for each x of each line; published numbers have no n."""
    rows = [
        [line.label, _cell(x), *statistic_cells(statistic(line.cells[x]))]
        for line in content.series
        for x in sorted(line.cells, key=content.places.index)
    ]
    for name, points in _published_lines(content).items():
        rows += [[name, _cell(x), number_cell(y), "", ""] for x, y in points.items()]
    return Table(["line", content.spec.x, "mean", "sd", "n"], rows)


def _published_lines(content: Content) -> dict[str, dict[Value, float]]:
    published = content.spec.published
    if published is None:
        return {}
    return {
        f"{published.label}: {content.spec.label_of([name])}": dict(points)
        for name, points in published.lines.items()
    }


def _cell(x: Value) -> str:
    return x if isinstance(x, str) else f"{x:g}"
