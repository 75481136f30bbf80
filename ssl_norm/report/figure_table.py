"""The numbers of a study's figure: x down and lines across to read, one row a point for programs."""

from ssl_norm.report.grouping import statistic
from ssl_norm.report.measures import BY_NAME
from ssl_norm.report.quantities import Value
from ssl_norm.report.series import Content, Series
from ssl_norm.report.table import Table, number_cell

DECIMALS = 3


def figure_table(content: Content) -> Table:
    """Return x down and lines across, mean +- sample deviation (n); published numbers as columns of their own.

    Where x is an outcome, a row a line with the means of both.
    """
    spec = content.spec
    decimals = max(BY_NAME[name].decimals if name in BY_NAME else DECIMALS for name in spec.y)
    if content.measured_x:
        rows = [
            [line.label, *(statistic(values).text(decimals) for values in both(line))]
            for line in content.series
        ]
        return Table(["line", spec.x, ", ".join(spec.y)], rows)
    others = published_lines(content)
    places = list(content.places)
    if content.numeric:
        places = sorted({*places, *(x for points in others.values() for x in points)}, key=float)
    rows = [
        [
            cell(x),
            *(statistic(line.cells.get(x, [])).text(decimals) for line in content.series),
            *(f"{points[x]:.{decimals}f}" if x in points else "-" for points in others.values()),
        ]
        for x in places
    ]
    return Table([spec.x, *(line.label for line in content.series), *others], rows)


def figure_numbers(content: Content) -> Table:
    """Return a row for each x of each line with mean, deviation and n; the deviation is empty for one run.

    Published numbers have their source before the line and no n.
    """
    rows = []
    for line in content.series:
        for x in sorted(line.cells, key=content.places.index):
            found = statistic(line.cells[x])
            numbers = [number_cell(found.mean), number_cell(found.deviation), str(found.present)]
            rows.append([line.label, cell(x), *numbers])
    for name, points in published_lines(content).items():
        rows += [[name, cell(x), number_cell(y), "", ""] for x, y in points.items()]
    return Table(["line", content.spec.x, "mean", "sd", "n"], rows)


def published_lines(content: Content) -> dict[str, dict[Value, float]]:
    """Return y by x of every published line, under its source and name."""
    published = content.spec.published
    if published is None:
        return {}
    return {
        f"{published.label}: {content.spec.label([name])}": dict(points)
        for name, points in published.lines.items()
    }


def both(line: Series) -> tuple[list[float], list[float]]:
    """Return every x and every y of a line."""
    pairs = [(float(x), y) for x, values in line.cells.items() for y in values]
    return [x for x, _ in pairs], [y for _, y in pairs]


def cell(x: Value) -> str:
    """Return an x as text."""
    return x if isinstance(x, str) else f"{x:g}"
