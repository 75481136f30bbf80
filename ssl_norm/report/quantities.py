"""A quantity of a run by its name: a setting, a value that the tables show, or a column of evaluations.csv.

    labels_per_class, optimizer.lr, arm      settings; a norm as text under norm.encoder, and its name and options
                                             under norm.encoder.name, norm.encoder.batch_size
    top1, linear_top1_exact, loss            numbers of the tables and of summary.json
    step, split, domain, statistics          columns of evaluations.csv, of which a run has a value a row

A name that stands for several is taken as written before the dot: `config.batch_size`, `summary.labels`,
`evaluations.batch_size`.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import yaml  # type: ignore[import-untyped]  # PyYAML, which omegaconf brings

from ssl_norm.report.measures import BY_NAME, finite, measured
from ssl_norm.report.read import RunRecord
from ssl_norm.report.settings import PLACE_IN_STUDY, norm_text, value_text

Value = str | float
CONFIG, SUMMARY, EVALUATIONS = SOURCES = ("config", "summary", "evaluations")
NORMS = ("encoder", "projector", "predictor")


class Quantity(NamedTuple):
    """Where a value stands.

    Attributes:
        source: `config`, `summary` or `evaluations`.
        name: in it.
    """

    source: str
    name: str

    def of(self, run: RunRecord, row: Mapping[str, Value] | None = None) -> Value | None:
        """Return the value in a run, or in one of its rows of evaluations.csv; None where it is missing."""
        if self.source == EVALUATIONS:
            found = (row or {}).get(self.name)
            return found if isinstance(found, str) else finite(found)
        if self.source == CONFIG:
            return setting(run, self.name)
        return outcome(run, self.name)


def find_quantity(
    name: str, runs: Sequence[RunRecord], *, of_rows: bool, y: bool
) -> Quantity | None:
    """Return where a quantity stands in some runs; None where none of them has it.

    Args:
        name: as in the figure of a study.
        runs: any of which may have it.
        of_rows: whether columns of evaluations.csv are meant first, as in a figure of its rows; else last.
        y: whether outcomes are meant before settings.
    """
    source, dot, rest = name.partition(".")
    if dot and source in SOURCES:
        return Quantity(source, rest) if HAS[source](runs, rest) else None
    order = [SUMMARY, CONFIG] if y else [CONFIG, SUMMARY]
    order = [EVALUATIONS, *order] if of_rows else [*order, EVALUATIONS]
    return next((Quantity(source, name) for source in order if HAS[source](runs, name)), None)


def is_column_only(name: str, runs: Sequence[RunRecord]) -> bool:
    """Whether a name can be nothing but a column of evaluations.csv."""
    if name.startswith(f"{EVALUATIONS}."):
        return True
    return HAS[EVALUATIONS](runs, name) and not any(
        HAS[source](runs, name) for source in (CONFIG, SUMMARY)
    )


def known_names(runs: Sequence[RunRecord]) -> list[str]:
    """Return every name that any of the runs has a value for."""
    found: dict[str, None] = {}
    for run in runs:
        found |= dict.fromkeys((*settings(run), *run.summary, *(run.evaluations or [{}])[0]))
        found |= dict.fromkeys(name for name in BY_NAME if measured(run, name) is not None)
    return sorted(found)


def setting(run: RunRecord, key: str) -> Value | None:
    """Return a setting by its dotted key: a number, or text; None where it is missing or null."""
    value = settings(run).get(key)
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    return value_text(value)


def settings(run: RunRecord) -> dict[str, Any]:
    """Return the settings of a run by dotted key, as they are: a norm as text, its name and options below it."""
    found: dict[str, Any] = {}

    def add(prefix: str, value: Any) -> None:
        if prefix in {f"norm.{part}" for part in NORMS}:
            found[prefix] = norm_text(value)
            found.update({f"{prefix}.{name}": option for name, option in options(value).items()})
        elif isinstance(value, Mapping):
            for name, inner in value.items():
                add(f"{prefix}.{name}" if prefix else str(name), inner)
        else:
            found[prefix] = value

    add("", run.config)
    return found | {key: run.summary[key] for key in PLACE_IN_STUDY if run.summary.get(key)}


def options(norm: Any) -> dict[str, Any]:
    """Return the name and the options that were given to a norm, as a mapping or as the text of one.

    Example:
        >>> options("{name: bn, batch_size: 4}"), options("gn+ws")
        ({'name': 'bn', 'batch_size': 4}, {'name': 'gn+ws'})
    """
    if isinstance(norm, str) and norm.startswith("{"):
        with suppress(yaml.YAMLError):
            norm = yaml.safe_load(norm)
    if isinstance(norm, Mapping):
        return {str(name): value for name, value in norm.items()}
    return {"name": value_text(norm)}


def outcome(run: RunRecord, name: str) -> Value | None:
    """Return a number of the tables or of summary.json, or a text of it."""
    if name in BY_NAME and (found := measured(run, name)) is not None:
        return found
    value = run.summary.get(name)
    return value if isinstance(value, str) else finite(value)


HAS: dict[str, Callable[[Sequence[RunRecord], str], bool]] = {
    CONFIG: lambda runs, name: any(name in settings(run) for run in runs),
    SUMMARY: lambda runs, name: any(outcome(run, name) is not None for run in runs),
    EVALUATIONS: lambda runs, name: any(name in row for run in runs for row in run.evaluations[:1]),
}
