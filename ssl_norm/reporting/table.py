"""Tables of a report: groups, their paired differences and single runs, as Markdown and CSV."""

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from ssl_norm.reporting.columns import Column, collapse_steps, columns, columns_of, verdict_counts
from ssl_norm.reporting.frame import Group, all_runs
from ssl_norm.reporting.read import RunRecord
from ssl_norm.text import Statistic, finite, printable, statistic, unique

SHORT = ("negative_cosine", "linear_top1", "top1", "top1_exact", "top1_batch")
COMPARED = (
    "negative_cosine", "linear_top1", "knn_top1", "top1", "top1_exact", "top1_batch",
)  # fmt: skip
VERDICTS = ("verdict", "collapsed_at_step")
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
        return "".join(f"| {' | '.join(map(markdown, line))} |\n" for line in lines)

    def csv(self) -> str:
        """Return the table as CSV."""
        file = io.StringIO()
        rows = [map(_csv_cell, row) for row in (self.headings, *self.rows)]
        csv.writer(file, lineterminator="\n").writerows(rows)
        return file.getvalue()


def markdown(text: str) -> str:
    """Return text for one line of Markdown, escaped so that it is no HTML, code, link or cell."""
    escaped = re.sub(r"[\\`*|]|\](?=[(\[:])", r"\\\g<0>", printable(text.replace("\n", " ")))
    return escaped.replace("&", "&amp;").replace("<", "&lt;")


def _csv_cell(text: str) -> str:
    """Return text, with an apostrophe before it if a spreadsheet would take it for a formula."""
    is_formula = re.match(r"[=+@\t\r]|-(?![\d.]+(e|$)|inf|nan|$| )", text)
    return f"'{text}" if is_formula else text


def group_table(keys: Sequence[str], groups: Sequence[Group]) -> Table:
    """Return a row for each group: mean +- sample deviation (n), and counts of verdicts."""
    found, verdict = _shown(groups)
    rows = [
        [
            *(group.values or [group.label]),
            ", ".join(group.seeds),
            *_verdicts(group, verdict),
            *(_statistic(group, column).text(column.decimals) for column in found),
        ]
        for group in groups
    ]
    headings = [HEADINGS.get(key, key) for key in keys] or ["runs"]
    return Table([*headings, "seeds", *_headings(found, verdict)], rows)


def _verdicts(group: Group, shown: bool) -> list[str]:
    return [verdict_counts(group.runs), collapse_steps(group.runs)] * shown


def short_table(keys: Sequence[str], groups: Sequence[Group]) -> Table:
    """Return the columns of `group_table` that fit a terminal, after the labels of the groups."""
    whole = group_table(keys, groups)
    shown = {"verdict", *(columns()[name].heading for name in SHORT)}
    kept = [index for index, heading in enumerate(whole.headings) if heading in shown]
    rows = [
        [group.label, *(row[index] for index in kept)]
        for group, row in zip(groups, whole.rows, strict=True)
    ]
    return Table(["group", *(whole.headings[index] for index in kept)], rows)


def run_table(groups: Sequence[Group]) -> Table:
    """Return a row for each run, with the label of its group."""
    found, verdict = _shown(groups)
    rows = [
        [
            *(run.name, group.label, seed, str(run.summary.get("steps", "-"))),
            *[str(run.summary.get("verdict", "-")), collapse_steps([run])] * verdict,
            *(
                "-" if (value := column.of(run)) is None else f"{value:.{column.decimals}f}"
                for column in found
            ),
        ]
        for group in groups
        for run, seed in zip(group.runs, group.seeds, strict=True)
    ]
    return Table(["run", "group", "seed", "steps", *_headings(found, verdict)], rows)


def _headings(found: Sequence[Column], verdict: bool) -> list[str]:
    return [*["verdict", "collapsed at step"] * verdict, *(column.heading for column in found)]


def group_numbers(keys: Sequence[str], groups: Sequence[Group]) -> Table:
    """Return the table of groups for CSV, with mean, deviation and n in separate columns."""
    found, verdict = _shown(groups)
    rows = [
        [
            *(group.values or [group.label]),
            *(str(len(group.runs)), " ".join(group.seeds)),
            *_verdicts(group, verdict),
            *(cell for column in found for cell in statistic_cells(_statistic(group, column))),
        ]
        for group in groups
    ]
    names = [f"{column.name}{end}" for column in found for end in ("", "_sd", "_n")]
    return Table([*(keys or ["runs"]), "n", "seeds", *VERDICTS * verdict, *names], rows)


def run_numbers(keys: Sequence[str], groups: Sequence[Group]) -> Table:
    """Return the table of runs for CSV: the values of `keys`, and all numbers in full."""
    found, verdict = _shown(groups)
    runs = all_runs(groups)
    known = {"seed", "collapsed_at_step", *(column.name for column in found)}
    others = unique(
        key for run in runs for key, v in run.summary.items()
        if key not in known and finite(v) is not None
    )  # fmt: skip
    rows = [
        [
            run.name,
            *(run.texts.get(key, "-") for key in keys),
            number_cell(run.seed),
            *[str(run.summary.get("verdict", "")), _summary_cell(run, "collapsed_at_step")]
            * verdict,
            *(number_cell(column.of(run)) for column in found),
            *(_summary_cell(run, key) for key in others),
        ]
        for run in runs
    ]
    names = [column.name for column in found]
    return Table(["run", *keys, "seed", *VERDICTS * verdict, *names, *others], rows)


def _shown(groups: Sequence[Group]) -> tuple[list[Column], bool]:
    """Return the columns that any run has, and whether any run has a verdict."""
    runs = all_runs(groups)
    return columns_of(runs)[0], any("verdict" in run.summary for run in runs)


def _statistic(group: Group, column: Column) -> Statistic:
    return statistic([column.of(run) for run in group.runs])


def statistic_cells(found: Statistic) -> list[str]:
    """Return mean, deviation and n as cells of a CSV file."""
    return [number_cell(found.mean), number_cell(found.deviation), str(found.present)]


def number_cell(value: float | None) -> str:
    """Return a number in full; "" for None."""
    return "" if value is None else repr(value)


def _summary_cell(run: RunRecord, key: str) -> str:
    return number_cell(finite(run.summary.get(key)))


class Difference(NamedTuple):
    """Mean difference of a value from that of the reference group, over common seeds."""

    group: str  # label of the group
    column: Column  # column of the value
    mean: float  # group minus reference
    low: float  # lower end of the 95 % confidence interval of the mean (t distribution)
    high: float  # upper end
    pairs: int  # number of seeds that both groups have exactly once

    @property
    def text(self) -> str:
        """The mean, the interval and the number of pairs."""
        mean, low, high = (f"{n:+.{self.column.decimals}f}" for n in self[2:5])
        return f"{mean} ({low} to {high}; {self.pairs})"


def differences(groups: Sequence[Group]) -> list[Difference]:
    """Return the differences of other groups from the first, if they share at least two seeds."""
    found = []
    for column in (columns()[name] for name in COMPARED):
        reference, *others = (_by_seed(group, column) for group in groups)
        for group, values in zip(groups[1:], others, strict=True):
            pairs = [values[seed] - reference[seed] for seed in values if seed in reference]
            of_pairs = statistic(pairs)
            mean, half = of_pairs.mean, of_pairs.half_width
            if mean is None or half is None:
                continue
            found.append(
                Difference(group.label, column, mean, mean - half, mean + half, len(pairs))
            )
    return found


def _by_seed(group: Group, column: Column) -> dict[int, float]:
    """Return the values of a group by seed, without seeds that occur more than once."""
    counts = Counter(run.seed for run in group.runs)
    values = {run.seed: column.of(run) for run in group.runs if counts[run.seed] == 1}
    return {s: value for s, value in values.items() if s is not None and value is not None}


def difference_table(found: Sequence[Difference]) -> Table:
    """Return a row for each group and a column for each value."""
    shown = {difference.column.name: difference.column.heading for difference in found}
    cells = {(difference.group, difference.column.name): difference.text for difference in found}
    rows = [
        [group, *(cells.get((group, name), "-") for name in shown)]
        for group in dict.fromkeys(difference.group for difference in found)
    ]
    return Table(["group", *shown.values()], rows)


def difference_numbers(found: Sequence[Difference]) -> Table:
    """Return a row for each difference, for CSV."""
    rows = [
        [item.group, item.column.name, *map(number_cell, item[2:5]), str(item.pairs)]
        for item in found
    ]
    return Table(["group", "value", "mean", "low", "high", "n"], rows)
