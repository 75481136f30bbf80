"""Columns of the tables, and their values in the files of a run."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from statistics import fmean
from typing import Any, NamedTuple

from ssl_norm.evaluate.baselines import BASELINES
from ssl_norm.monitors import MONITORS
from ssl_norm.monitors.declare import monitors_in_runs
from ssl_norm.reporting.read import FINETUNE, PRETRAIN, RunRecord
from ssl_norm.text import finite
from ssl_norm.train.summary import AUROCS

LATE_ROWS = 5
# Kinds of statistics, named as in population_stats.json, in the order of the tables.
STATISTICS = ("population", "exact", "batch")


class Column(NamedTuple):
    """One value of a run."""

    name: str  # heading in table.csv
    heading: str  # heading in the other tables
    # reads the value of a run; a result that is not a finite number counts as missing
    read: Callable[[RunRecord], object]
    decimals: int = 3  # number of decimals in tables
    tool: str = PRETRAIN  # the tool whose runs have this value
    optional: bool = False  # whether a run without this value is complete

    def of(self, run: RunRecord) -> float | None:
        """Return the value of a run, or None."""
        return finite(self.read(run)) if run.tool in (self.tool, None) else None

    def is_lacking(self, run: RunRecord) -> bool:
        """Return whether a run should have the value and does not."""
        return run.tool in (self.tool, None) and not self.optional and self.of(run) is None


def columns() -> Mapping[str, Column]:
    """Return all columns by name, in the order of the tables, with those that monitors declare."""
    return _columns(tuple(MONITORS))


@cache
def _columns(monitors: tuple[str, ...]) -> Mapping[str, Column]:
    declared = {name: monitor.declaration for name, monitor in monitors_in_runs().items()}
    found = [
        Column(name, facts.label, _summary(name), facts.decimals)
        for name, facts in declared.items()
        if facts.label
    ]
    late = f"contrastive accuracy, last {LATE_ROWS} rows"
    found.append(Column("contrastive_accuracy", late, _late_accuracy, optional=True))
    for name, heading, key in _PROBES:
        found.append(Column(name, heading, _of_probe(name, key)))
        for baseline, words in BASELINES.items():
            read = _of_probe(f"{name}_{baseline}", f"{key}_{baseline}")
            column = Column(f"{name}_{baseline}", f"{heading}, {words}", read, optional=True)
            found.append(column)
    for name, heading, key in _PROBES:
        for kind in STATISTICS:
            read = _under(kind, key)
            found.append(Column(f"{name}_{kind}", f"{heading}, {kind}", read, optional=True))
    finetuned = _FINETUNED | {name: heading for name, (heading, _) in AUROCS.items()}
    for name, heading in finetuned.items():
        decimals, optional = 0 if name == "labels" else 3, name != "top1"
        found.append(Column(name, heading, _summary(name), decimals, FINETUNE, optional))
    return {column.name: column for column in found}


# Name, heading, and key in linear_eval.json and population_stats.json.
_PROBES = (("linear_top1", "linear top-1", "top1"), ("knn_top1", "kNN top-1", "knn_top1"))
_FINETUNED = {
    "labels": "labels",
    "top1": "top-1, population",
    "top1_exact": "top-1, exact",
    "top1_exact_labelled": "top-1, exact, labelled",
    "top1_batch": "top-1, batch",
    "train_top1": "training top-1",
}


def _summary(name: str) -> Callable[[RunRecord], object]:
    return lambda run: run.summary.get(name)


def _late_accuracy(run: RunRecord) -> object:
    """Return the mean over the last `LATE_ROWS` rows, as one row covers only one batch."""
    rows = run.metrics.get("contrastive_accuracy", ())
    late = [value for value in rows if math.isfinite(value)][-LATE_ROWS:]
    return fmean(late) if late else None


def _of_probe(name: str, key: str) -> Callable[[RunRecord], object]:
    """Return a function that reads linear_eval.json, else the linear probe that ends a run."""
    return lambda run: run.evaluation.get(key, run.summary.get(name))


def _under(statistics: str, key: str) -> Callable[[RunRecord], object]:
    """Return a function that reads an accuracy in population_stats.json, by kind of statistics."""
    return lambda run: ((run.population.get("evaluations") or {}).get(statistics) or {}).get(key)


def measured(run: RunRecord, name: str) -> float | None:
    """Return a value of a run by the name of its column, or None."""
    return columns()[name].of(run)


def columns_of(runs: Sequence[RunRecord]) -> tuple[list[Column], list[Column]]:
    """Return the columns that any run has, and those that no run has although it should."""
    there = [c for c in columns().values() if any(c.of(run) is not None for run in runs)]
    lacking = [c for c in columns().values() if c not in there and any(map(c.is_lacking, runs))]
    return there, lacking


def verdict_counts(runs: Sequence[RunRecord]) -> str:
    """Return the number of runs of each verdict, as `complete 2/3, healthy 1/3`."""
    counts = Counter(str(run.summary.get("verdict", "-")) for run in runs)
    return ", ".join(f"{verdict} {count}/{len(runs)}" for verdict, count in counts.most_common())


def collapse_steps(runs: Sequence[RunRecord]) -> str:
    """Return the steps of collapse of each run; one dash if no run collapsed.

    If a run is collapsed at its end, this is the step at which the collapse began. If a run
    recovered from complete collapse, these are the steps of the first and last collapsed row in
    metrics.csv, as `30 to 2390`. A run without collapse has a dash.
    """
    steps = []
    for run in runs:
        within = [step for step, verdict in run.verdicts if verdict == "complete"]
        left = f"{within[0]} to {within[-1]}" if within else "-"
        ends = run.summary.get("collapsed_at_step")
        steps.append(left if ends is None else str(ends))
    return ", ".join(steps) if set(steps) != {"-"} else "-"


def probe_of(run: RunRecord) -> str:
    """Return how the linear top-1 of a run was measured; empty if it was not."""
    if measured(run, "linear_top1") is None:
        return ""
    if "top1" not in run.evaluation:
        return "the probe that ends a run (summary.json)"
    return f"linear_eval.json: {probe_words(run.evaluation)}"


def probe_words(record: Mapping[str, Any]) -> str:
    """Return protocol, labels and test images of a linear probe."""
    return (
        f"{record.get('protocol', '?')}, {record.get('labels', '?')} labels, "
        f"{record.get('test_images', '?')} test images"
    )
