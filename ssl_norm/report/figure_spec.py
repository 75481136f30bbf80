"""What a study asks to be drawn of its runs: the entries of `figures` in its file, checked."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from math import isfinite
from typing import Any

from ssl_norm.errors import UserError
from ssl_norm.names import unknown_name

TAKEN = (  # files of any report
    "report", "table", "runs", "cosines", "accuracy", "spectra", "layers", "accuracy_by_statistics",
    "accuracy_over_steps", "probes_over_steps", "accuracy_course",
)  # fmt: skip
Points = tuple[tuple[float, float], ...]
Conditions = Mapping[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Published:
    """Numbers of others, drawn dotted.

    Attributes:
        label: their source.
        lines: points (x, y) by the name of the line that they are compared with, or a name of their own.
    """

    label: str
    lines: Mapping[str, Points]


@dataclass(frozen=True)
class FigureSpec:
    """One figure of a study: y over x, a line for each combination of values of `lines`.

    Attributes:
        name: of its files, without the ending.
        x: name of a quantity of the runs, see `ssl_norm.report.quantities`.
        y: names of quantities; several are a line each.
        lines: names of quantities that tell the lines.
        where: values that some quantities must have, any of several; of several such conditions one must hold.
        log_x: whether x is logarithmic.
        title: above the figure.
        x_label: of the axis; empty: the name.
        y_label: of the axis; empty: the name.
        labels: words for lines, or for a part of their names, by what they would be called.
        published: numbers to compare with.
    """

    name: str
    x: str
    y: tuple[str, ...]
    lines: tuple[str, ...] = ()
    where: tuple[Conditions, ...] = ({},)
    log_x: bool = False
    title: str = ""
    x_label: str = ""
    y_label: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    published: Published | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The quantities that the figure needs, each once."""
        conditions = (name for where in self.where for name in where)
        return tuple(dict.fromkeys((self.x, *self.lines, *conditions, *self.y)))

    def label(self, parts: Sequence[object]) -> str:
        """Return what a line is called by the values that tell it, as a whole or in parts in the words of `labels`."""
        words = [str(part) for part in parts]
        return self.labels.get(", ".join(words)) or ", ".join(
            self.labels.get(word, word) for word in words
        )


def figure_specs(study: str, entries: Sequence[Mapping[Any, Any]]) -> list[FigureSpec]:
    """Return the figures of a study from `figures` in its file.

    Raises:
        UserError: an entry has another form; the line names the file and the figure.
    """
    specs: list[FigureSpec] = []
    for place, entry in enumerate(entries, start=1):
        where = f"configs/study/{study}.yaml, figure {entry.get('name', place)}"
        spec = figure_spec(where, entry)
        if spec.name in [known.name for known in specs]:
            raise UserError(f"{where}: there are two figures of this name")
        specs.append(spec)
    return specs


def figure_spec(where: str, entry: Mapping[Any, Any]) -> FigureSpec:
    """Return one figure from its entry; `where` begins the line of an error."""
    known = [part.name for part in fields(FigureSpec)]
    for key in entry:
        if key not in known:
            raise UserError(f"{where}: {unknown_name('key', key, known)}")
    for key in ("name", "x", "y"):
        if key not in entry:
            raise UserError(f"{where}: it has no {key}; a figure needs name, x and y")
    for key in ("name", "x", "title", "x_label", "y_label"):
        if not isinstance(entry.get(key, ""), str):
            raise UserError(f"{where}: {key} is text, got {entry[key]!r}")
    name = entry["name"]
    if not re.fullmatch(r"[\w-]+", name) or name in TAKEN:
        raise UserError(
            f"{where}: name is that of its files: letters, digits, _ and -, and none of {', '.join(TAKEN)}"
        )
    if not isinstance(entry.get("log_x", False), bool):
        raise UserError(f"{where}: log_x is true or false, got {entry['log_x']!r}")
    return FigureSpec(
        name=name,
        x=entry["x"],
        y=names(where, "y", entry["y"]),
        lines=names(where, "lines", entry.get("lines", [])),
        where=alternatives(where, entry.get("where", {})),
        log_x=entry.get("log_x", False),
        title=entry.get("title", ""),
        x_label=entry.get("x_label", ""),
        y_label=entry.get("y_label", ""),
        labels=words(where, entry.get("labels", {})),
        published=published(where, entry.get("published")),
    )


def names(where: str, key: str, value: Any) -> tuple[str, ...]:
    """Return one name or several as a tuple; `y` needs one at least."""
    found = value if isinstance(value, list) else [value]
    if not all(isinstance(name, str) for name in found) or (key == "y" and not found):
        raise UserError(f"{where}: {key} is a name, or several in [ ], got {value!r}")
    return tuple(found)


def alternatives(where: str, value: Any) -> tuple[Conditions, ...]:
    """Return `where`: a mapping, or a list of several."""
    found = value if isinstance(value, list) and value else [value]
    return tuple(conditions(where, each) for each in found)


def conditions(where: str, value: Any) -> Conditions:
    """Return by name the values that count."""
    if not isinstance(value, Mapping):
        raise UserError(
            f"{where}: where is a mapping, `where: {{split: test}}`, or a list of several, got {value!r}"
        )
    return {
        str(name): tuple(wanted) if isinstance(wanted, list) else (wanted,)
        for name, wanted in value.items()
    }


def words(where: str, value: Any) -> dict[str, str]:
    """Return `labels`: what lines are called by the names that they would have."""
    if not isinstance(value, Mapping):
        raise UserError(f"{where}: labels is a mapping, `labels: {{bn: BatchNorm}}`, got {value!r}")
    return {str(name): str(label) for name, label in value.items()}


def published(where: str, value: Any) -> Published | None:
    """Return `published`: a source and its points by line."""
    if value is None:
        return None
    form = "published is {label: source, lines: {line: [[x, y], ...]}}"
    lines = value.get("lines") if isinstance(value, Mapping) else None
    if not isinstance(lines, Mapping) or not isinstance(value.get("label"), str):
        raise UserError(f"{where}: {form}, got {value!r}")
    if not all(
        isinstance(points, list) and all(map(is_point, points)) for points in lines.values()
    ):
        raise UserError(f"{where}: {form}; a point is two numbers")
    return Published(
        value["label"], {str(name): tuple((x, y) for x, y in lines[name]) for name in lines}
    )


def is_point(value: Any) -> bool:
    """Whether a value is a pair of finite numbers."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(part, int | float) and isfinite(part) for part in value)
    )
