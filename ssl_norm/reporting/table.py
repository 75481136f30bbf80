"""Tables of a report: groups, their paired differences and single runs, as Markdown and CSV."""

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ssl_norm.reporting.columns import Column, collapse_steps, columns, columns_of, verdict_counts
from ssl_norm.reporting.frame import Group, all_runs
from ssl_norm.reporting.read import RunRecord
from ssl_norm.text import Statistic, finite, printable, statistic, unique

SHORT = ("negative_cosine", "linear_top1", "top1", "top1_exact", "top1_batch")
COMPARED = (
    "negative_cosine", "linear_top1", "knn_top1", "top1", "top1_exact", "top1_batch",
)  # fmt: skip
HEADINGS = {
    "method.name": "method",
    "norm.projector": "projector",
    "norm.predictor": "predictor",
    "norm.encoder": "encoder norm",
    "labels_per_class": "labels a class",
}
_Columns = dict[str, list[str]]  # cells by heading


class Table(NamedTuple):
    """Headings and rows of text."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]

    @classmethod
    def of(cls, columns: Mapping[str, Sequence[str]]) -> "Table":
        """Return a table from its cells by heading."""
        return cls(list(columns), list(zip(*columns.values(), strict=True)))

    def markdown(self) -> str:
        """Return the table as Markdown, with numbers aligned to the right."""
        rules = ["---:" if all(map(_is_number, c)) else "---" for c in zip(*self.rows, strict=True)]
        lines = [self.headings, rules or ["---"] * len(self.headings), *self.rows]
        return "".join(f"| {' | '.join(map(markdown, line))} |\n" for line in lines)

    def csv(self) -> str:
        """Return the table as CSV."""
        file = io.StringIO()
        rows = [map(_csv_cell, row) for row in (self.headings, *self.rows)]
        csv.writer(file, lineterminator="\n").writerows(rows)
        return file.getvalue()


def markdown(text: str) -> str:
    """Return text for one line of Markdown, escaped so that it has no markup."""
    marks = r"[\\`*|]|(?<!\w)_|_(?!\w)|\](?=[(\[:])"
    marks += r"|^[#>]|^[-+](?= )|^~(?=~~)|(?<= )#(?=#*$)"  # starts of blocks, end of a heading
    escaped = re.sub(marks, r"\\\g<0>", printable(text.replace("\n", " ")).strip())
    escaped = re.sub(r"^(\d+)([.)] )", r"\1\\\2", escaped)  # item of a list
    return escaped.replace("&", "&amp;").replace("<", "&lt;")


def _is_number(text: str) -> bool:
    """Return whether a cell holds a dash or a number, perhaps with deviation and count."""
    return re.match(r"([-+]?\d[\d.]*|-)( |$)", text) is not None


def _csv_cell(text: str) -> str:
    """Return text, with an apostrophe before it if a spreadsheet would take it for a formula."""
    is_formula = re.match(r"[=+@\t\r]|-(?![\d.]+(e|$)|inf|nan|$| )", text)
    return f"'{text}" if is_formula else text


def group_table(keys: Sequence[str], groups: Sequence[Group]) -> Table:
    """Return a row for each group: mean +- sample deviation (n), and counts of verdicts."""
    found = columns_of(all_runs(groups))[0]
    table = _places([HEADINGS.get(key, key) for key in keys], groups)
    table["seeds"] = [", ".join(group.seeds) for group in groups]
    table |= _verdicts(groups, "collapsed at step")
    for column in found:
        texts = [_statistic(g, column).text(column.decimals) for g in groups]
        table.setdefault(column.heading, texts)  # `labels` may be a key and a result
    return Table.of(table)


def group_numbers(keys: Sequence[str], groups: Sequence[Group]) -> Table:
    """Return the table of groups for CSV, with mean, deviation and n in separate columns."""
    table = _places(keys, groups)
    table["n"] = [str(len(group.runs)) for group in groups]
    table["seeds"] = [" ".join(group.seeds) for group in groups]
    table |= _verdicts(groups, "collapsed_at_step")
    for column in columns_of(all_runs(groups))[0]:
        cells = zip(*(statistic_cells(_statistic(g, column)) for g in groups), strict=True)
        for end, of_end in zip(("", "_sd", "_n"), cells, strict=True):
            table.setdefault(f"{column.name}{end}", list(of_end))
    return Table.of(table)


def _places(headings: Sequence[str], groups: Sequence[Group]) -> _Columns:
    """Return the values that distinguish the groups, or the label of a single group."""
    rows = [group.values or [group.label] for group in groups]
    return dict(zip(headings or ["runs"], map(list, zip(*rows, strict=True)), strict=True))


def _verdicts(groups: Sequence[Group], steps: str) -> _Columns:
    """Return the verdicts and the steps of collapse, if any run has a verdict."""
    if not any("verdict" in run.summary for run in all_runs(groups)):
        return {}
    verdicts = [verdict_counts(group.runs) for group in groups]
    return {"verdict": verdicts, steps: [collapse_steps(group.runs) for group in groups]}


def short_table(keys: Sequence[str], groups: Sequence[Group]) -> Table:
    """Return the columns of `group_table` that fit a terminal, after the labels of the groups."""
    whole = group_table(keys, groups)
    shown = {"verdict", *(columns()[name].heading for name in SHORT)}
    cells = zip(whole.headings, zip(*whole.rows, strict=True), strict=True)
    kept = {heading: column for heading, column in cells if heading in shown}
    return Table.of({"group": [group.label for group in groups], **kept})


def run_table(groups: Sequence[Group]) -> Table:
    """Return a row for each run, with the label of its group."""
    runs = all_runs(groups)
    table = {
        "run": [run.name for run in runs],
        "group": [group.label for group in groups for _ in group.runs],
        "seed": [seed for group in groups for seed in group.seeds],
        "steps": [str(run.summary.get("steps", "-")) for run in runs],
    }
    if any("verdict" in run.summary for run in runs):
        table["verdict"] = [str(run.summary.get("verdict", "-")) for run in runs]
        table["collapsed at step"] = [collapse_steps([run]) for run in runs]
    for column in columns_of(runs)[0]:
        values = [column.of(run) for run in runs]
        table[column.heading] = ["-" if v is None else f"{v:.{column.decimals}f}" for v in values]
    return Table.of(table)


def run_numbers(keys: Sequence[str], groups: Sequence[Group]) -> Table:
    """Return the table of runs for CSV: the values of `keys`, and all numbers in full."""
    runs = all_runs(groups)
    table = {"run": [run.name for run in runs]}
    table |= {key: [run.texts.get(key, "-") for run in runs] for key in keys}
    table["seed"] = [number_cell(run.seed) for run in runs]
    if any("verdict" in run.summary for run in runs):
        table["verdict"] = [str(run.summary.get("verdict", "")) for run in runs]
        table["collapsed_at_step"] = _from_summary(runs, "collapsed_at_step")
    for column in columns_of(runs)[0]:
        table.setdefault(column.name, [number_cell(column.of(run)) for run in runs])
    others = unique(key for run in runs for key, v in run.summary.items() if finite(v) is not None)
    for key in others:
        if key not in {"seed", "collapsed_at_step", *table}:
            table[key] = _from_summary(runs, key)
    return Table.of(table)


def _from_summary(runs: Sequence[RunRecord], key: str) -> list[str]:
    return [number_cell(finite(run.summary.get(key))) for run in runs]


def _statistic(group: Group, column: Column) -> Statistic:
    return statistic([column.of(run) for run in group.runs])


def statistic_cells(found: Statistic) -> list[str]:
    """Return mean, deviation and n as cells of a CSV file."""
    return [number_cell(found.mean), number_cell(found.deviation), str(found.present)]


def number_cell(value: float | None) -> str:
    """Return a number in full; "" for None."""
    return "" if value is None else repr(value)


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
