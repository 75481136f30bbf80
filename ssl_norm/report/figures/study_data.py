"""Figures that studies ask for: their entries, checked, and the numbers that runs hold for them."""

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Annotated, Any, NamedTuple

from annotated_types import MinLen
from pydantic import BeforeValidator, ValidationError, ValidatorFunctionWrapHandler, field_validator

from ssl_norm.errors import UserError
from ssl_norm.names import unknown_name
from ssl_norm.option_errors import line_of
from ssl_norm.options import Settings, option
from ssl_norm.report.caveats import named_runs
from ssl_norm.report.figures import FIGURES
from ssl_norm.report.frame import (
    EVALUATIONS,
    SUMMARY,
    Quantity,
    Value,
    Values,
    differing_keys,
    find_quantity,
    is_column_only,
    is_compared,
    known_names,
)
from ssl_norm.report.read import RunRecord
from ssl_norm.text import counted

Conditions = Mapping[str, Sequence[Any]]
Row = Mapping[str, Any]
CHOICES = frozenset({"samples", "batch_size"})
MEASURED = ("top1", "loss", "images")  # columns of evaluations.csv that do not tell its rows apart


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _read_conditions(value: Any) -> list[Conditions]:
    found = _listed(value)
    if not found or not all(isinstance(each, Mapping) for each in found):
        raise ValueError(
            "a mapping expected, `where: {split: test}`, or a list of several, got " + repr(value)
        )
    return [{str(name): _listed(wanted) for name, wanted in each.items()} for each in found]


def _read_labels(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"a mapping expected, `labels: {{bn: BatchNorm}}`, got {value!r}")
    return {str(name): each for name, each in value.items()}


def _read_names(value: Any) -> list[str]:
    found = _listed(value)
    if not all(isinstance(name, str) for name in found):
        raise ValueError(f"a name expected, or several in [ ], got {value!r}")
    return found


def _read_pair(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


Names = Annotated[list[str], BeforeValidator(_read_names)]
Pair = Annotated[tuple[float, float], BeforeValidator(_read_pair)]


class Published(Settings):
    """Numbers of others, drawn dotted."""

    label: str = option(..., "their source")
    lines: Annotated[dict[str, list[Pair]], BeforeValidator(_read_labels)] = option(
        ..., "points [x, y] by the name of the line to compare them with, or by another name"
    )


class FigureSpec(Settings):
    """One figure of a study: y over x, a line for each combination of values of `lines`.

    Quantities have the names of :class:`ssl_norm.report.frame.Values`.
    """

    name: str = option(..., "name of its files, without the ending")
    x: str = option(..., "quantity")
    y: Annotated[Names, MinLen(1)] = option(..., "quantity, or several, a line each")
    lines: Names = option(list, "quantities that tell the lines apart")
    where: Annotated[list[Conditions], BeforeValidator(_read_conditions)] = option(
        lambda: [{}], "allowed values of quantities; of several such mappings one must hold"
    )
    log_x: bool = option(False, "whether x is logarithmic")
    title: str = option("", "title above the figure")
    x_label: str = option("", "label of the axis; empty: the name")
    y_label: str = option("", "label of the axis; empty: the name")
    labels: Annotated[
        dict[str, Annotated[str, BeforeValidator(str)]], BeforeValidator(_read_labels)
    ] = option(dict, "legend labels, keyed by the default label or a part of it")
    published: Published | None = option(None, "numbers to compare with")

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        taken = ("report", "table", "runs", *FIGURES)
        if not re.fullmatch(r"[\w-]+", name) or name in taken:
            raise ValueError(
                f"letters, digits, _ and - expected, and none of {', '.join(taken)}, got {name!r}"
            )
        return name

    @field_validator("published", mode="wrap")
    @classmethod
    def _check_published(cls, value: Any, check: ValidatorFunctionWrapHandler) -> Any:
        try:
            return check(value)
        except ValidationError as error:
            form = "{label: source, lines: {line: [[x, y], ...]}}"
            raise ValueError(f"{form} expected, a point is two numbers, got {value!r}") from error

    @property
    def names(self) -> tuple[str, ...]:
        """The quantities that the figure needs, each once."""
        conditions = (name for where in self.where for name in where)
        return tuple(dict.fromkeys((self.x, *self.lines, *conditions, *self.y)))

    def label_of(self, parts: Sequence[object]) -> str:
        """Return the label of a line from the values that tell it, by `labels` as far as given."""
        names = [str(part) for part in parts]
        whole = self.labels.get(", ".join(names))
        return whole or ", ".join(self.labels.get(name, name) for name in names)


def figure_specs(study: str, entries: Sequence[Mapping[Any, Any]]) -> list[FigureSpec]:
    """Return the figures of a study from `figures` in its file.

    Raises:
        UserError: an entry has another form; the line names the file and the figure.
    """
    specs: list[FigureSpec] = []
    for place, entry in enumerate(entries, start=1):
        where = f"configs/study/{study}.yaml, figure {entry.get('name', place)}"
        try:
            spec = FigureSpec.model_validate(entry)
        except ValidationError as error:
            raise UserError(f"{where}: {line_of(error, FigureSpec)}") from error
        if spec.name in [known.name for known in specs]:
            raise UserError(f"{where}: there are two figures of this name")
        specs.append(spec)
    return specs


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
        parts: the values that tell it from other lines, as text.
        label: its name in the legend.
        cells: by x the values of single runs.
    """

    parts: tuple[str, ...]
    label: str
    cells: Mapping[Value, Sequence[float]]


class Content(NamedTuple):
    """Numbers of a figure.

    Attributes:
        spec: the entry of the study.
        series: the lines, in the order of their first runs.
        measured_x: whether x is an outcome as well, so that runs differ in it by chance.
        runs: number of runs in it.
    """

    spec: FigureSpec
    series: Sequence[Series]
    measured_x: bool
    runs: int

    @property
    def places(self) -> list[Value]:
        """Every x: numbers in ascending order; where any is text, in order of occurrence."""
        found = list(dict.fromkeys(x for line in self.series for x in line.cells))
        return sorted(found, key=float) if self.numeric else found

    @property
    def numeric(self) -> bool:
        """Whether every x is a number."""
        return not any(isinstance(x, str) for line in self.series for x in line.cells)


def content_of(spec: FigureSpec, runs: Sequence[RunRecord]) -> tuple[Content | None, list[str]]:
    """Return the numbers of a figure, None without any, and lines on data missing in it."""
    not_drawn = f"figure {spec.name} is not drawn"
    values = [Values(run) for run in runs]
    of_rows = any(is_column_only(name, values) for name in spec.names)
    found: dict[str, Quantity] = {}
    for name in spec.names:
        quantity = find_quantity(name, values, of_rows=of_rows, y=name in spec.y)
        if quantity is None:
            return None, [f"{not_drawn}: {unknown_name('quantity', name, known_names(values))}"]
        found[name] = quantity
    points: list[Point] = []
    lacking: dict[str, list[RunRecord]] = {}
    for each in values:
        its_points, lacks = _points_of(spec, found, each)
        points += its_points
        for what in lacks:
            lacking.setdefault(what, []).append(each.run)
    lines = [
        f"figure {spec.name}: no {what} in {counted(len(those), 'run')}: {named_runs(those)}"
        for what, those in lacking.items()
    ]
    if not points:
        needed = _conditions_text(spec.where, spec.names) or "all that it shows"
        return None, [*lines, f"{not_drawn}: no run has {needed}"]
    if columns := _undecided_columns(points):
        return None, [
            *lines,
            f"{not_drawn}: several rows of evaluations.csv stand for one point, which differ in "
            f"{', '.join(columns)}; choose by where, or name it in lines",
        ]
    measured_x = found[spec.x].source == SUMMARY and any(
        isinstance(point.x, float) and not point.x.is_integer() for point in points
    )
    count = len({point.run for point in points})
    content = Content(spec, _series_of(spec, points), measured_x, count)
    return content, [*lines, *_mixed_runs(spec, points)]


def _points_of(
    spec: FigureSpec, found: Mapping[str, Quantity], values: Values
) -> tuple[list[Point], list[str]]:
    """Return the points of one run, and the values that it should have and lacks."""
    rows, lacks = _rows_of(spec, found, values)
    points = []
    for row in rows:
        x = values.of(found[spec.x], row)
        if x is None:
            lacks.append(spec.x)
            continue
        told = [part_text(name, values.of(found[name], row)) for name in spec.lines]
        parts = tuple(part for part in told if part)
        for name in spec.y:
            y = values.of(found[name], row)
            if isinstance(y, int | float):
                own = (*parts, name) if len(spec.y) > 1 else parts
                points.append(Point(own or (name,), x, y, values.run, row))
            else:
                lacks.append(name)
    return points, list(dict.fromkeys(lacks))


def _rows_of(
    spec: FigureSpec, found: Mapping[str, Quantity], values: Values
) -> tuple[list[Row], list[str]]:
    """Return the rows of evaluations.csv in a figure, an empty row where it needs none.

    A figure that does not mention steps has the rows of the last step; one that does not mention
    images and batches of exact statistics has those of the run's first choice.
    """
    of_run = {name: q for name, q in found.items() if q.source != EVALUATIONS}
    of_row = {name: q for name, q in found.items() if q.source == EVALUATIONS}
    choices = [c for c in spec.where if all(_wanted(c, n, values.of(q)) for n, q in of_run.items())]
    if not choices:
        return [], []
    if not of_row:
        return [{}], []
    rows = [
        row
        for row in values.run.evaluations
        if any(all(_wanted(c, n, values.of(q, row)) for n, q in of_row.items()) for c in choices)
    ]
    if not rows:
        needed = _conditions_text(choices, of_row)
        return [], [f"row of evaluations.csv with {needed}" if needed else "evaluations.csv"]
    if not any(q.name == "step" for q in of_row.values()):
        last = max(row["step"] for row in rows)
        rows = [row for row in rows if row["step"] == last]
    return _first_choices(rows, CHOICES - {q.name for q in of_row.values()}), []


def _conditions_text(choices: Sequence[Conditions], names: Iterable[str]) -> str:
    """Return conditions on some quantities, such as `split=test statistics=exact|batch`."""
    known = list(names)
    texts = (
        " ".join(f"{name}={'|'.join(map(str, choice[name]))}" for name in known if name in choice)
        for choice in choices
    )
    return " or ".join(dict.fromkeys(filter(None, texts)))


def _first_choices(rows: Sequence[Row], choices: Set[str]) -> list[Row]:
    """Return the first of the rows that differ only in choices of exact statistics.

    Rows of a domain's statistics all stay.
    """
    first: dict[tuple[tuple[str, Value], ...], Row] = {}
    for row in rows:
        free = set() if row.get("statistics_from") == "domain" else choices
        told = {name: v for name, v in row.items() if name not in free and name not in MEASURED}
        first.setdefault(tuple(sorted(told.items())), row)
    return list(first.values())


def _wanted(conditions: Conditions, name: str, value: Value | None) -> bool:
    return name not in conditions or _same_text(value) in map(_same_text, conditions[name])


def _same_text(value: object) -> str:
    """Return text that is equal for 4 and 4.0, true and "true", null and a missing value."""
    if value is None or value == "null":
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def part_text(name: str, value: Value | None) -> str:
    """Return a value in the name of a line: a number with its quantity, nothing for a missing one.

    Example:
        >>> part_text("norm.encoder", "ubn"), part_text("optimizer.lr", 0.1)
        ('ubn', 'lr 0.1')
    """
    if isinstance(value, int | float):
        return f"{name.rpartition('.')[2]} {value:g}"
    return value or ""


def _undecided_columns(points: Sequence[Point]) -> list[str]:
    """Return the columns in which rows of one run differ that stand for one point."""
    rows: dict[tuple[object, ...], list[Row]] = {}
    for point in points:
        rows.setdefault((point.run, point.parts, point.x), []).append(point.row)
    return sorted(
        {
            name
            for same in rows.values()
            for name in same[0]
            if name not in MEASURED and len({row.get(name) for row in same}) > 1
        }
    )


def _mixed_runs(spec: FigureSpec, points: Sequence[Point]) -> list[str]:
    """Return a line where one point is of several runs of a seed, which no mean should mix."""
    cells: dict[tuple[tuple[str, ...], Value, int | None], dict[RunRecord, None]] = {}
    for point in points:
        cells.setdefault((point.parts, point.x, point.run.seed), {})[point.run] = None
    for (parts, x, seed), runs in cells.items():
        if len(runs) > 1:
            keys = filter(is_compared, differing_keys(run.texts for run in runs))
            return [
                f"figure {spec.name}: {len(runs)} runs of seed {seed} at {x} of "
                f"{spec.label_of(parts)}, which differ in {', '.join(keys) or 'nothing'}; "
                "tell them apart by where or lines"
            ]
    return []


def _series_of(spec: FigureSpec, points: Iterable[Point]) -> list[Series]:
    cells: dict[tuple[str, ...], dict[Value, list[float]]] = {}
    for point in points:
        cells.setdefault(point.parts, {}).setdefault(point.x, []).append(point.y)
    return [Series(parts, spec.label_of(parts), found) for parts, found in cells.items()]
