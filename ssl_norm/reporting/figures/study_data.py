"""Figures that studies define: their entries in study files, and the data of runs for them."""

import re
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from annotated_types import MinLen
from pydantic import BeforeValidator, Strict, ValidationError, field_validator

from ssl_norm.errors import UserError
from ssl_norm.names import unknown_name
from ssl_norm.option_errors import line_of
from ssl_norm.options import Settings, option
from ssl_norm.reporting.caveats import named_runs
from ssl_norm.reporting.columns import columns
from ssl_norm.reporting.figures import FIGURES
from ssl_norm.reporting.frame import differing_keys, grouped, is_compared, norm_options
from ssl_norm.reporting.read import NORMS, PLACE_IN_STUDY, RunRecord
from ssl_norm.text import as_typed, counted, finite, unique

Value = str | float
Row = Mapping[str, Any]
SOURCES = CONFIG, SUMMARY, EVALUATIONS = ("config.", "summary.", "evaluations.")
CHOICES = ("samples", "batch_size")
TAKEN = ("report", "table", "runs", "differences")  # names of other files
MEASURED = ("top1", "loss", "images")  # columns of evaluations.csv that do not distinguish its rows


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


Name = Annotated[str, BeforeValidator(str)]  # YAML reads some names as numbers
Names = Annotated[list[str], BeforeValidator(_listed), MinLen(1)]
Conditions = dict[Name, Annotated[list[Any], BeforeValidator(_listed)]]
Pair = Annotated[tuple[float, float], Strict(False)]  # not strict, because YAML reads it as a list


class Published(Settings):
    """Published numbers, drawn as dotted lines."""

    label: str = option(..., "source of the numbers")
    lines: dict[Name, list[Pair]] = option(
        ..., "points [x, y] by name; the name may be that of a line to compare them with"
    )


class FigureSpec(Settings):
    """One figure of a study: y over x, with a line for each combination of values of `lines`.

    :func:`values_of` lists the names of quantities.
    """

    name: str = option(..., "name of its files, without the suffix")
    x: str = option(..., "quantity on the x-axis")
    y: Names = option(..., "quantity on the y-axis, or several, with a line for each")
    lines: Annotated[list[str], BeforeValidator(_listed)] = option(
        list, "quantities that distinguish the lines"
    )
    where: Annotated[list[Conditions], BeforeValidator(_listed), MinLen(1)] = option(
        lambda: [{}], "allowed values by quantity; in a list of mappings, one must hold"
    )
    log_x: bool = option(False, "whether x is logarithmic")
    title: str = option("", "title above the figure")
    x_label: str = option("", "label of the axis; empty: the name")
    y_label: str = option("", "label of the axis; empty: the name")
    labels: dict[Name, Name] = option(
        dict, "replacements in the legend, by a default label or a part of one"
    )
    published: Published | None = option(None, "numbers to compare with")

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if not re.fullmatch(r"[\w-]+", name):
            raise ValueError(f"letters, digits, _ and - expected, got {name!r}")
        return name

    @property
    def names(self) -> tuple[str, ...]:
        """The quantities that the figure needs, without repeats."""
        conditions = (name for where in self.where for name in where)
        return tuple(unique((self.x, *self.lines, *conditions, *self.y)))

    def label_of(self, parts: Sequence[object]) -> str:
        """Return the label of a line from its values, with the replacements in `labels`."""
        names = [str(part) for part in parts]
        whole = self.labels.get(", ".join(names))
        return whole or ", ".join(self.labels.get(name, name) for name in names)


def figure_specs(study: str, entries: Sequence[Mapping[Any, Any]]) -> list[FigureSpec]:
    """Return the figures of a study from the entries in its file.

    Raises:
        UserError: an entry is malformed, or two figures have one name.
    """
    specs: list[FigureSpec] = []
    for place, entry in enumerate(entries, start=1):
        where = f"configs/study/{study}.yaml, figure {entry.get('name', place)}"
        try:
            spec = FigureSpec.model_validate(entry)
        except ValidationError as error:
            raise UserError(f"{where}: {line_of(error, FigureSpec)}") from error
        if spec.name in (*TAKEN, *FIGURES, *(known.name for known in specs)):
            raise UserError(f"{where}: another file has this name")
        specs.append(spec)
    return specs


class Series(NamedTuple):
    """One line of a figure."""

    parts: tuple[str, ...]  # the values that distinguish it from other lines, as text
    label: str  # its name in the legend
    cells: Mapping[Value, Sequence[float]]  # values of single runs by x


class Content(NamedTuple):
    """Numbers of a figure."""

    spec: FigureSpec  # the entry of the study
    series: Sequence[Series]  # the lines, in the order of their first runs
    runs: int  # number of runs in the figure

    @property
    def places(self) -> list[Value]:
        """Every x: in ascending order if all are numbers, else in order of occurrence."""
        found = list(dict.fromkeys(x for line in self.series for x in line.cells))
        return sorted(found, key=float) if self.numeric else found

    @property
    def numeric(self) -> bool:
        """Return whether every x is a number."""
        return not any(isinstance(x, str) for line in self.series for x in line.cells)


def values_of(run: RunRecord) -> dict[str, Value | None]:
    """Return all values of a run by source and name.

    | source and names | values |
    |---|---|
    | `config.`: `labels_per_class`, `optimizer.lr`, `arm` | settings; `norm.encoder` is the text |
    | | of a norm, `norm.encoder.name`, `norm.encoder.batch_size` its name and options |
    | `summary.`: `top1`, `linear_top1_exact`, `loss` | numbers of the tables and of summary.json |
    | `evaluations.`: `step`, `split` | columns of evaluations.csv; None, as each row differs |

    A figure may omit the source; it is needed only if several sources have the name.
    """
    config: dict[str, Any] = dict.fromkeys(key for key in PLACE_IN_STUDY if key in run.config)
    config |= run.settings
    for key in NORMS:
        if key in run.settings:
            norm = run.config["norm"].get(key.partition(".")[2])
            config |= {f"{key}.{name}": value for name, value in norm_options(norm).items()}
    shown = {c.name: value for c in columns().values() if (value := c.of(run)) is not None}
    outcomes = {name: _text_or_finite(v) for name, v in {**run.summary, **shown}.items()}
    return {
        **{
            CONFIG + key: value if type(value) in (int, float, type(None)) else as_typed(value)
            for key, value in config.items()
        },
        **{SUMMARY + name: value for name, value in outcomes.items() if value is not None},
        **dict.fromkeys(EVALUATIONS + name for row in run.evaluations[:1] for name in row),
    }


def _text_or_finite(value: Any) -> Value | None:
    return value if isinstance(value, str) else finite(value)


def find_places(spec: FigureSpec, known: Collection[str]) -> dict[str, str]:
    """Return the source and name of each quantity of a figure that any run has.

    If several sources have a quantity, settings precede outcomes, except for the y-axis. Columns of
    evaluations.csv precede both if a quantity of the figure exists only there, else they follow.
    `known` are the keys of :func:`values_of` of all runs.
    """

    def find(name: str, sources: Iterable[str]) -> str | None:
        keys = [name] if name.startswith(SOURCES) else [source + name for source in sources]
        return next((key for key in keys if key in known), None)

    of_rows = any((find(name, SOURCES) or "").startswith(EVALUATIONS) for name in spec.names)
    places: dict[str, str] = {}
    for name in spec.names:
        order = (SUMMARY, CONFIG) if name in spec.y else (CONFIG, SUMMARY)
        found = find(name, (EVALUATIONS, *order) if of_rows else (*order, EVALUATIONS))
        places |= {name: found} if found else {}
    return places


class _Point(NamedTuple):
    """The value of one run at one x of one line, and its row of evaluations.csv."""

    parts: tuple[str, ...]
    x: Value
    y: float
    run: RunRecord
    row: Row


def content_of(spec: FigureSpec, runs: Sequence[RunRecord]) -> tuple[Content | None, list[str]]:
    """Return the numbers of a figure, or None if there are none, and lines on missing data."""
    not_drawn = f"figure {spec.name} is not drawn"
    values = [values_of(run) for run in runs]
    known = {key for each in values for key in each}
    places = find_places(spec, known)
    if unknown := [name for name in spec.names if name not in places]:
        names = sorted({key.partition(".")[2] for key in known})
        return None, [f"{not_drawn}: {unknown_name('quantity', unknown[0], names)}"]
    points: list[_Point] = []
    lacking: dict[str, dict[RunRecord, None]] = {}
    for run, own in zip(runs, values, strict=True):
        for found in _points_of(spec, places, run, own):
            if isinstance(found, _Point):
                points.append(found)
            else:
                lacking.setdefault(found, {})[run] = None
    lines = [
        f"figure {spec.name}: no {what} in {counted(len(those), 'run')}: {named_runs(those)}"
        for what, those in lacking.items()
    ]
    if not points:
        return None, [*lines, f"{not_drawn}: no run has all its quantities with values in `where`"]
    series = []
    for parts, line in grouped(points, lambda p: p.parts).items():
        cells = {x: [p.y for p in same] for x, same in grouped(line, lambda p: p.x).items()}
        series.append(Series(parts, spec.label_of(parts), cells))
    count = len({point.run for point in points})
    return Content(spec, series, count), [*lines, *_mixed_values(spec, points)]


def _points_of(
    spec: FigureSpec, places: Mapping[str, str], run: RunRecord, own: Row
) -> Iterator[_Point | str]:
    """Yield the points of a run, and the names of quantities that it lacks."""
    column = {
        name: place.removeprefix(EVALUATIONS)
        for name, place in places.items()
        if place.startswith(EVALUATIONS)
    }
    of_run = {name: own.get(place) for name, place in places.items() if name not in column}
    choices = [choice for choice in spec.where if _holds(choice, of_run)]
    rows: list[tuple[Row, Row]] = [({}, of_run)] if choices else []  # without evaluations.csv
    if choices and column:
        rows = _chosen_rows(run, of_run, column, choices)
        if not rows:
            yield "row of evaluations.csv with values in `where`"
    for row, values in rows:
        x = values[spec.x]
        if x is None:
            yield spec.x
            continue
        parts = tuple(filter(None, (part_text(name, values[name]) for name in spec.lines)))
        for name in spec.y:
            y = values[name]
            told = (*parts, name) if len(spec.y) > 1 or not parts else parts
            yield _Point(told, x, y, run, row) if isinstance(y, int | float) else name


def _chosen_rows(
    run: RunRecord, of_run: dict[str, Any], column: Mapping[str, str], choices: Sequence[Conditions]
) -> list[tuple[Row, Row]]:
    """Return rows of evaluations.csv with the values of a figure.

    If the figure does not name the step, rows are those of the last step; if it does not name
    numbers of images or batch sizes of exact statistics, rows are those of the first.
    """
    rows = []
    for row in run.evaluations:
        values = of_run | {name: _text_or_finite(row.get(key)) for name, key in column.items()}
        if any(_holds(choice, values) for choice in choices):
            rows.append((row, values))
    named = column.values()
    if "step" not in named:
        last = max((row["step"] for row, _ in rows), default=0)
        rows = [pair for pair in rows if pair[0]["step"] == last]

    def told(pair: tuple[Row, Row]) -> Hashable:
        row = pair[0]
        is_chosen = row.get("statistics_from") != "domain"  # all rows of domains are kept
        free = [*MEASURED, *(name for name in CHOICES if is_chosen and name not in named)]
        return tuple(sorted((name, value) for name, value in row.items() if name not in free))

    return [same[0] for same in grouped(rows, told).values()]


def _holds(conditions: Conditions, values: Row) -> bool:
    return all(
        _same_text(value) in map(_same_text, conditions[name])
        for name, value in values.items()
        if name in conditions
    )


def _same_text(value: object) -> str:
    """Return text that is equal for 4 and 4.0, true and "true", null and a missing value."""
    if value is None or value == "null":
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def part_text(name: str, value: Value | None) -> str:
    """Return a value as a part of a line's label: a number follows its quantity, None is empty.

    Example:
        >>> part_text("norm.encoder", "ubn"), part_text("optimizer.lr", 0.1)
        ('ubn', 'lr 0.1')
    """
    if isinstance(value, int | float):
        return f"{name.rpartition('.')[2]} {value:g}"
    return value or ""


def _mixed_values(spec: FigureSpec, points: Sequence[_Point]) -> list[str]:
    """Return a line if a point has several values of one seed, of which a mean is meaningless."""
    for (parts, x, seed), same in grouped(points, lambda p: (p.parts, p.x, p.run.seed)).items():
        if len(same) > 1:
            texts = [{k: str(v) for k, v in {**p.run.texts, **p.row}.items()} for p in same]
            keys = [
                key for key in differing_keys(texts) if is_compared(key) and key not in MEASURED
            ]
            return [
                f"figure {spec.name}: {len(same)} values of seed {seed} at {x} of "
                f"{spec.label_of(parts)}, which differ in {', '.join(keys) or 'nothing'}; "
                "select them by `where`, or separate them by `lines`"
            ]
    return []
