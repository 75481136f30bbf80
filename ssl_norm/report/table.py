"""The tables of a report: groups and single runs, as Markdown, as CSV, and as cells for the page."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ssl_norm.report.grouping import Group, Statistic, statistic
from ssl_norm.report.measures import (
    BY_NAME,
    Measure,
    collapse_steps,
    finite,
    have_verdicts,
    measures_of,
    value_of,
    verdict_counts,
)
from ssl_norm.report.read import RunRecord
from ssl_norm.report.settings import settings_of

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
        return "".join(f"| {' | '.join(map(markdown_cell, line))} |\n" for line in lines)

    def csv(self) -> str:
        """Return the table as CSV."""
        file = io.StringIO()
        csv.writer(file, lineterminator="\n").writerows([self.headings, *self.rows])
        return file.getvalue()


def markdown_cell(text: str) -> str:
    """Return text as it can stand in a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")


def key_headings(keys: Sequence[str]) -> list[str]:
    """Return what the columns of the grouping keys are called; `runs` where there are none."""
    return [HEADINGS.get(key, key) for key in keys] or ["runs"]


def key_cells(group: Group) -> list[str]:
    """Return the cells of a group under `key_headings`."""
    return list(group.values) or [group.label]


def group_table(keys: Sequence[str], groups: Sequence[Group]) -> Table:
    """Return a row for each group: numbers as mean +- sample deviation (n), verdicts counted where there are any."""
    runs = all_runs(groups)
    measures, _ = measures_of(runs)
    verdict = have_verdicts(runs)
    headings = [*key_headings(keys), "seeds", *["verdict", "collapsed at step"] * verdict]
    rows = [
        [
            *key_cells(group),
            ", ".join(group.seeds),
            *[verdict_counts(group.runs), collapse_steps(group.runs)] * verdict,
            *(group_statistic(group, measure).text(measure.decimals) for measure in measures),
        ]
        for group in groups
    ]
    return Table([*headings, *(measure.heading for measure in measures)], rows)


def short_table(groups: Sequence[Group]) -> Table:
    """Return a row for each group with what fits a terminal: verdicts, negative cosine and accuracies."""
    runs = all_runs(groups)
    verdict = have_verdicts(runs)
    there, _ = measures_of(runs)
    measures = [measure for measure in map(BY_NAME.__getitem__, SHORT) if measure in there]
    rows = [
        [
            group.label,
            *[verdict_counts(group.runs)] * verdict,
            *(group_statistic(group, measure).text(measure.decimals) for measure in measures),
        ]
        for group in groups
    ]
    return Table(
        ["group", *["verdict"] * verdict, *(measure.heading for measure in measures)], rows
    )


def group_statistic(group: Group, measure: Measure) -> Statistic:
    """Return mean, deviation and counts of a measure over a group."""
    return statistic([value_of(measure, run) for run in group.runs])


def group_numbers(keys: Sequence[str], groups: Sequence[Group]) -> Table:
    """Return the rows of `group_table` for programs: mean, deviation and n of every measure in columns of their own.

    Deviations are empty for one run, means for none.
    """
    runs = all_runs(groups)
    measures, _ = measures_of(runs)
    verdict = have_verdicts(runs)
    names = [f"{m.name}{end}" for m in measures for end in ("", "_sd", "_n")]
    rows = [
        [
            *key_cells(group),
            str(len(group.runs)),
            " ".join(group.seeds),
            *[verdict_counts(group.runs), collapse_steps(group.runs)] * verdict,
            *(cell for measure in measures for cell in statistic_cells(group, measure)),
        ]
        for group in groups
    ]
    keys = list(keys) or ["runs"]
    verdicts = ["verdict", "collapsed_at_step"] * verdict
    return Table([*keys, "n", "seeds", *verdicts, *names], rows)


def statistic_cells(group: Group, measure: Measure) -> list[str]:
    """Return mean, deviation and n of a measure over a group."""
    found = group_statistic(group, measure)
    return [number_cell(found.mean), number_cell(found.deviation), str(found.present)]


def run_table(groups: Sequence[Group]) -> Table:
    """Return a row for each run, under the label of its group."""
    runs = all_runs(groups)
    measures, _ = measures_of(runs)
    verdict = have_verdicts(runs)
    headings = ["run", "group", "seed", "steps", *["verdict", "collapsed at step"] * verdict]
    rows = [
        [
            run.name,
            group.label,
            seed,
            str(run.summary.get("steps", "-")),
            *[str(run.summary.get("verdict", "-")), collapse_steps([run])] * verdict,
            *(decimal(value_of(measure, run), measure.decimals) for measure in measures),
        ]
        for group in groups
        for run, seed in zip(group.runs, group.seeds, strict=True)
    ]
    return Table([*headings, *(measure.heading for measure in measures)], rows)


def run_numbers(keys: Sequence[str], groups: Sequence[Group]) -> Table:
    """Return a row for each run for programs: settings at the keys, and every number of its summary in full."""
    runs = all_runs(groups)
    measures, _ = measures_of(runs)
    verdict = have_verdicts(runs)
    names = {measure.name for measure in measures}
    others = unique(
        key
        for run in runs
        for key, value in run.summary.items()
        if finite(value) is not None and key not in {*names, "seed", "collapsed_at_step"}
    )
    rows = []
    for run in runs:
        settings = settings_of(run)
        rows.append(
            [
                run.name,
                *(settings.get(key, "-") for key in keys),
                "" if run.seed is None else str(run.seed),
                *[
                    str(run.summary.get("verdict", "")),
                    number_cell(finite(run.summary.get("collapsed_at_step"))),
                ]
                * verdict,
                *(number_cell(value_of(measure, run)) for measure in measures),
                *(number_cell(finite(run.summary.get(key))) for key in others),
            ]
        )
    start = ["run", *keys, "seed", *["verdict", "collapsed_at_step"] * verdict]
    return Table([*start, *(measure.name for measure in measures), *others], rows)


def all_runs(groups: Iterable[Group]) -> list[RunRecord]:
    """Return the runs of all groups."""
    return [run for group in groups for run in group.runs]


def unique(names: Iterable[str]) -> list[str]:
    """Return each name once, in the order of their first occurrence."""
    return list(dict.fromkeys(names))


def number_cell(value: float | None) -> str:
    """Return a number in full, nothing where there is none."""
    return "" if value is None else repr(value)


def decimal(value: float | None, decimals: int) -> str:
    """Return a number with some decimals, a dash where there is none."""
    return "-" if value is None else f"{value:.{decimals}f}"
