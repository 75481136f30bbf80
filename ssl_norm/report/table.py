"""Tables of a report: groups and single runs, as Markdown, as CSV, and as cells for the page."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ssl_norm.report.columns import (
    Column,
    collapse_steps,
    columns_of,
    have_verdicts,
    verdict_counts,
)
from ssl_norm.report.frame import Group, all_runs
from ssl_norm.report.read import RunRecord
from ssl_norm.text import Statistic, finite, statistic

SHORT = ("negative_cosine", "linear_top1", "top1", "top1_exact", "top1_batch")
HEADINGS = {
    "method.name": "method",
    "norm.projector": "projector",
    "norm.predictor": "predictor",
    "norm.encoder": "encoder norm",
    "labels_per_class": "labels a class",
}


class Table(NamedTuple):
    """Headings and rows of text."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """Return the table as Markdown, with a line break at the end."""
        lines = [self.headings, ["---"] * len(self.headings), *self.rows]
        return "".join(f"| {' | '.join(map(_markdown_cell, line))} |\n" for line in lines)

    def csv(self) -> str:
        """Return the table as CSV."""
        file = io.StringIO()
        csv.writer(file, lineterminator="\n").writerows([self.headings, *self.rows])
        return file.getvalue()


def _markdown_cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def group_table(keys: Sequence[str], groups: Sequence[Group]) -> Table:
    """Return a row for each group: numbers as mean +- sample deviation (n), verdicts counted."""
    columns, verdict = _shown(groups)
    rows = [
        [
            *(group.values or [group.label]),
            ", ".join(group.seeds),
            *[verdict_counts(group.runs), collapse_steps(group.runs)] * verdict,
            *(_statistic(group, column).text(column.decimals) for column in columns),
        ]
        for group in groups
    ]
    headings = [HEADINGS.get(key, key) for key in keys] or ["runs"]
    headings += ["seeds", *["verdict", "collapsed at step"] * verdict]
    return Table([*headings, *(column.heading for column in columns)], rows)


def short_table(groups: Sequence[Group]) -> Table:
    """Return the columns of `group_table` that fit a terminal."""
    columns, verdict = _shown(groups)
    columns = sorted((c for c in columns if c.name in SHORT), key=lambda c: SHORT.index(c.name))
    rows = [
        [
            group.label,
            *[verdict_counts(group.runs)] * verdict,
            *(_statistic(group, column).text(column.decimals) for column in columns),
        ]
        for group in groups
    ]
    return Table(["group", *["verdict"] * verdict, *(c.heading for c in columns)], rows)


def group_numbers(keys: Sequence[str], groups: Sequence[Group]) -> Table:
    """Return the rows of `group_table` for programs: mean, deviation and n as separate columns.

    Deviations are empty for one run, means for none.
    """
    columns, verdict = _shown(groups)
    rows = [
        [
            *(group.values or [group.label]),
            str(len(group.runs)),
            " ".join(group.seeds),
            *[verdict_counts(group.runs), collapse_steps(group.runs)] * verdict,
            *(cell for column in columns for cell in statistic_cells(_statistic(group, column))),
        ]
        for group in groups
    ]
    verdicts = ["verdict", "collapsed_at_step"] * verdict
    names = [f"{column.name}{end}" for column in columns for end in ("", "_sd", "_n")]
    return Table([*(keys or ["runs"]), "n", "seeds", *verdicts, *names], rows)


def run_table(groups: Sequence[Group]) -> Table:
    """Return a row for each run, under the label of its group."""
    columns, verdict = _shown(groups)
    rows = [
        [
            run.name,
            group.label,
            seed,
            str(run.summary.get("steps", "-")),
            *[str(run.summary.get("verdict", "-")), collapse_steps([run])] * verdict,
            *(_decimal(column.of(run), column.decimals) for column in columns),
        ]
        for group in groups
        for run, seed in zip(group.runs, group.seeds, strict=True)
    ]
    headings = ["run", "group", "seed", "steps", *["verdict", "collapsed at step"] * verdict]
    return Table([*headings, *(column.heading for column in columns)], rows)


def run_numbers(keys: Sequence[str], groups: Sequence[Group]) -> Table:
    """Return a row for each run for programs: settings at the keys, and every number in full."""
    columns, verdict = _shown(groups)
    known = {"seed", "collapsed_at_step", *(column.name for column in columns)}
    numbers = [{k: n for k, v in run.summary.items() if (n := finite(v)) is not None}
               for run in all_runs(groups)]  # fmt: skip
    others = [key for key in unique(key for row in numbers for key in row) if key not in known]
    rows = [
        [
            run.name,
            *(run.texts.get(key, "-") for key in keys),
            "" if run.seed is None else str(run.seed),
            *[str(run.summary.get("verdict", "")), number_cell(row.get("collapsed_at_step"))]
            * verdict,
            *(number_cell(column.of(run)) for column in columns),
            *(number_cell(row.get(key)) for key in others),
        ]
        for run, row in zip(all_runs(groups), numbers, strict=True)
    ]
    start = ["run", *keys, "seed", *["verdict", "collapsed_at_step"] * verdict]
    return Table([*start, *(column.name for column in columns), *others], rows)


def _shown(groups: Sequence[Group]) -> tuple[list[Column], bool]:
    """Return the columns that any run has, and whether any run has a verdict."""
    runs: list[RunRecord] = all_runs(groups)
    return columns_of(runs)[0], have_verdicts(runs)


def _statistic(group: Group, column: Column) -> Statistic:
    return statistic([column.of(run) for run in group.runs])


def statistic_cells(found: Statistic) -> list[str]:
    """Return mean, deviation and n as cells for programs."""
    return [number_cell(found.mean), number_cell(found.deviation), str(found.present)]


def unique(names: Iterable[str]) -> list[str]:
    """Return each name once, in the order of their first occurrence."""
    return list(dict.fromkeys(names))


def number_cell(value: float | None) -> str:
    """Return a number in full, nothing where there is none."""
    return "" if value is None else repr(value)


def _decimal(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"
