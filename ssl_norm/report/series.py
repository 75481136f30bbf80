"""The numbers behind a figure of a study: for each line and each x the values of single runs."""

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import NamedTuple

from ssl_norm.names import unknown_name
from ssl_norm.report.caveats import counted, named_runs
from ssl_norm.report.figure_spec import Conditions, FigureSpec
from ssl_norm.report.quantities import (
    EVALUATIONS,
    SUMMARY,
    Quantity,
    Value,
    find_quantity,
    is_column_only,
    known_names,
)
from ssl_norm.report.read import RunRecord
from ssl_norm.report.settings import differing_keys, is_compared, settings_of

Row = Mapping[str, Value]
CHOICES = frozenset({"samples", "batch_size"})
MEASURED = ("top1", "loss", "images")  # columns of evaluations.csv that do not tell its rows apart


class Point(NamedTuple):
    """The value of one run at one x of one line."""

    parts: tuple[str, ...]
    x: Value
    y: float
    run: RunRecord
    row: Row


class Series(NamedTuple):
    """One line of a figure.

    Attributes:
        parts: the values that tell it from other lines, in words.
        label: what it is called.
        cells: by x the values of single runs.
    """

    parts: tuple[str, ...]
    label: str
    cells: Mapping[Value, Sequence[float]]


class Content(NamedTuple):
    """What a figure shows.

    Attributes:
        spec: as the study asks for it.
        series: the lines, in the order in which their first runs come.
        measured_x: whether x is an outcome too, so that runs differ in it by chance.
        runs: how many are in it.
    """

    spec: FigureSpec
    series: Sequence[Series]
    measured_x: bool
    runs: int

    @property
    def places(self) -> list[Value]:
        """Every x: numbers in ascending order; where any is text, as they come."""
        found = list(dict.fromkeys(x for line in self.series for x in line.cells))
        return sorted(found, key=float) if self.numeric else found

    @property
    def numeric(self) -> bool:
        """Whether every x is a number."""
        return not any(isinstance(x, str) for line in self.series for x in line.cells)


def content_of(spec: FigureSpec, runs: Sequence[RunRecord]) -> tuple[Content | None, list[str]]:
    """Return the numbers of a figure, None where the runs do not hold them, and lines on what is not in it."""
    not_drawn = f"figure {spec.name} is not drawn"
    of_rows = any(is_column_only(name, runs) for name in spec.names)
    found: dict[str, Quantity] = {}
    for name in spec.names:
        quantity = find_quantity(name, runs, of_rows=of_rows, y=name in spec.y)
        if quantity is None:
            return None, [f"{not_drawn}: {unknown_name('quantity', name, known_names(runs))}"]
        found[name] = quantity
    points: list[Point] = []
    lacking: dict[str, list[str]] = {}
    for run in runs:
        its_points, lacks = points_of(spec, found, run)
        points += its_points
        for what in lacks:
            lacking.setdefault(what, []).append(run.name)
    lines = [
        f"figure {spec.name}: no {what} in {counted(len(names), 'run')}: {named_runs(names)}"
        for what, names in lacking.items()
    ]
    if not points:
        needed = conditions_text(spec.where, spec.names) or "all that it shows"
        return None, [*lines, f"{not_drawn}: no run has {needed}"]
    if columns := undecided_columns(points):
        return None, [
            *lines,
            f"{not_drawn}: several rows of evaluations.csv stand for one point, which differ in "
            f"{', '.join(columns)}; choose by where, or name it in lines",
        ]
    measured_x = found[spec.x].source == SUMMARY and any(
        isinstance(point.x, float) and not point.x.is_integer() for point in points
    )
    count = len({point.run.name for point in points})
    content = Content(spec, series_of(spec, points), measured_x, count)
    return content, [*lines, *mixed_runs(spec, points)]


def points_of(
    spec: FigureSpec, found: Mapping[str, Quantity], run: RunRecord
) -> tuple[list[Point], list[str]]:
    """Return the points of one run, and what it should have and lacks."""
    rows, lacks = rows_of(spec, found, run)
    points = []
    for row in rows:
        x = found[spec.x].of(run, row)
        if x is None:
            lacks.append(spec.x)
            continue
        words = [part_text(name, found[name].of(run, row)) for name in spec.lines]
        parts = tuple(part for part in words if part)
        for name in spec.y:
            y = found[name].of(run, row)
            if isinstance(y, int | float):
                own = (*parts, name) if len(spec.y) > 1 else parts
                points.append(Point(own or (name,), x, y, run, row))
            else:
                lacks.append(name)
    return points, list(dict.fromkeys(lacks))


def rows_of(
    spec: FigureSpec, found: Mapping[str, Quantity], run: RunRecord
) -> tuple[list[Row], list[str]]:
    """Return the rows of evaluations.csv that a figure is of, an empty one where it is of none.

    Where a figure says nothing about steps, the rows of the last step count; where it says nothing about the images
    and batches of exact statistics, those of the run's first choice.
    """
    of_run = {name: q for name, q in found.items() if q.source != EVALUATIONS}
    of_row = {name: q for name, q in found.items() if q.source == EVALUATIONS}
    choices = [c for c in spec.where if all(wanted(c, n, q.of(run)) for n, q in of_run.items())]
    if not choices:
        return [], []
    if not of_row:
        return [{}], []
    rows = [
        row
        for row in run.evaluations
        if any(all(wanted(c, n, q.of(run, row)) for n, q in of_row.items()) for c in choices)
    ]
    if not rows:
        conditions = conditions_text(choices, of_row)
        return [], [
            f"row of evaluations.csv with {conditions}" if conditions else "evaluations.csv"
        ]
    if not any(q.name == "step" for q in of_row.values()):
        last = max(row["step"] for row in rows)
        rows = [row for row in rows if row["step"] == last]
    return first_choices(rows, CHOICES - {q.name for q in of_row.values()}), []


def conditions_text(choices: Sequence[Conditions], names: Iterable[str]) -> str:
    """Return what a figure is restricted to in some quantities, such as `split=test statistics=exact|batch`."""
    known = list(names)
    texts = (
        " ".join(f"{name}={'|'.join(map(str, choice[name]))}" for name in known if name in choice)
        for choice in choices
    )
    return " or ".join(dict.fromkeys(filter(None, texts)))


def first_choices(rows: Sequence[Row], choices: Set[str]) -> list[Row]:
    """Return of the rows that differ only in choices of exact statistics the first; all of a domain's own ones."""
    first: dict[tuple[tuple[str, Value], ...], Row] = {}
    for row in rows:
        free = set() if row.get("statistics_from") == "domain" else choices
        told = {name: v for name, v in row.items() if name not in free and name not in MEASURED}
        first.setdefault(tuple(sorted(told.items())), row)
    return list(first.values())


def wanted(conditions: Conditions, name: str, value: Value | None) -> bool:
    """Whether a value is among those that are wanted of a quantity."""
    return name not in conditions or same_text(value) in map(same_text, conditions[name])


def same_text(value: object) -> str:
    """Return a value as text in which 4 and 4.0, true and its text, null and a missing value are the same."""
    if value is None or value == "null":
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def part_text(name: str, value: Value | None) -> str:
    """Return a value in the name of a line: a number with what it is of, nothing for a missing one.

    Example:
        >>> part_text("norm.encoder", "ubn"), part_text("optimizer.lr", 0.1)
        ('ubn', 'lr 0.1')
    """
    if isinstance(value, int | float):
        return f"{name.rpartition('.')[2]} {value:g}"
    return value or ""


def undecided_columns(points: Sequence[Point]) -> list[str]:
    """Return the columns in which rows of one run differ that stand for one point."""
    rows: dict[tuple[object, ...], list[Row]] = {}
    for point in points:
        rows.setdefault((point.run.name, point.parts, point.x), []).append(point.row)
    return sorted(
        {
            name
            for same in rows.values()
            for name in same[0]
            if name not in MEASURED and len({row.get(name) for row in same}) > 1
        }
    )


def mixed_runs(spec: FigureSpec, points: Sequence[Point]) -> list[str]:
    """Return a line where several runs of one seed stand for one point, which a mean over seeds should not mix."""
    cells: dict[tuple[tuple[str, ...], Value, int | None], dict[str, RunRecord]] = {}
    for point in points:
        cells.setdefault((point.parts, point.x, point.run.seed), {})[point.run.name] = point.run
    for (parts, x, seed), runs in cells.items():
        if len(runs) > 1:
            keys = filter(is_compared, differing_keys(map(settings_of, runs.values())))
            return [
                f"figure {spec.name}: {len(runs)} runs of seed {seed} at {x} of {spec.label(parts)}, which differ in "
                f"{', '.join(keys) or 'nothing'}; tell them apart by where or lines"
            ]
    return []


def series_of(spec: FigureSpec, points: Iterable[Point]) -> list[Series]:
    """Return the lines of some points."""
    cells: dict[tuple[str, ...], dict[Value, list[float]]] = {}
    for point in points:
        cells.setdefault(point.parts, {}).setdefault(point.x, []).append(point.y)
    return [Series(parts, spec.label(parts), found) for parts, found in cells.items()]
