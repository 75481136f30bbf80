"""The values of a run that the tables show, and where each of them stands in its files."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from ssl_norm.monitors.declare import monitors_in_runs
from ssl_norm.report.read import RunRecord
from ssl_norm.report.run_files import FINETUNE, PRETRAIN

LATE_ROWS = 5


class Measure(NamedTuple):
    """One value of a run.

    Attributes:
        name: in table.csv.
        heading: in the other tables.
        decimals: shown.
        value: reads it from a record; anything but a finite number is missing.
        tool: whose runs have it.
        asked_for: only runs that were asked for it have it, so that none lacks it.
        methods: learners that have it; empty: all.
    """

    name: str
    heading: str
    decimals: int
    value: Callable[[RunRecord], object]
    tool: str = PRETRAIN
    asked_for: bool = False
    methods: tuple[str, ...] = ()

    def is_of(self, run: RunRecord) -> bool:
        """Whether a run is of a kind that has this value."""
        of_method = not self.methods or run.summary.get("method") in self.methods
        return run.tool in (self.tool, None) and of_method


def in_summary(name: str) -> Callable[[RunRecord], object]:
    """Return what reads a value of summary.json."""
    return lambda run: run.summary.get(name)


def late_mean(name: str) -> Callable[[RunRecord], object]:
    """Return what reads the mean of the last `LATE_ROWS` rows of metrics.csv: one row is of one batch, which is few."""

    def value(run: RunRecord) -> object:
        late = [row for row in run.metrics.get(name, ()) if math.isfinite(row)][-LATE_ROWS:]
        return fmean(late) if late else None

    return value


def in_evaluation(name: str, in_summary: str) -> Callable[[RunRecord], object]:
    """Return what reads a value of linear_eval.json, or what the probe that ends a run found."""
    return lambda run: run.evaluation.get(name, run.summary.get(in_summary))


def under(statistics: str, name: str) -> Callable[[RunRecord], object]:
    """Return what reads an accuracy of population_stats.json under one kind of statistics."""

    def value(run: RunRecord) -> object:
        evaluations = run.population.get("evaluations")
        found = evaluations.get(statistics) if isinstance(evaluations, Mapping) else None
        return found.get(name) if isinstance(found, Mapping) else None

    return value


def of_finetuning(name: str, heading: str, decimals: int = 3, *, always: bool = False) -> Measure:
    """Return a value of the summary.json of tools/finetune.py."""
    return Measure(name, heading, decimals, in_summary(name), FINETUNE, asked_for=not always)


def of_monitors() -> list[Measure]:
    """Return the last values of the monitors that declare a label."""
    return [
        Measure(name, declared.label, declared.decimals, in_summary(name))
        for name, function in monitors_in_runs().items()
        if (declared := function.declaration).label
    ]


# Kinds of statistics, in the order in which they are compared, as population_stats.json names them.
STATISTICS = ("population", "exact", "batch")
MEASURES: tuple[Measure, ...] = (
    *of_monitors(),
    Measure(
        "contrastive_accuracy",
        f"contrastive accuracy, last {LATE_ROWS} rows",
        3,
        late_mean("contrastive_accuracy"),
        methods=("simclr", "moco_v2"),
    ),
    Measure("linear_top1", "linear top-1", 3, in_evaluation("top1", "linear_top1")),
    Measure(
        "linear_top1_random_init",
        "linear top-1, random init",
        3,
        in_evaluation("top1_random_init", "linear_top1_random_init"),
    ),
    Measure("knn_top1", "kNN top-1", 3, in_evaluation("knn_top1", "knn_top1")),
    Measure(
        "knn_top1_random_init",
        "kNN top-1, random init",
        3,
        in_evaluation("knn_top1_random_init", "knn_top1_random_init"),
    ),
    *(
        Measure(f"{probe}_{kind}", f"{heading}, {kind}", 3, under(kind, field), asked_for=True)
        for probe, heading, field in (
            ("linear_top1", "linear top-1", "top1"),
            ("knn_top1", "kNN top-1", "knn_top1"),
        )
        for kind in STATISTICS
    ),
    of_finetuning("labels", "labels", 0),
    of_finetuning("top1", "top-1, population", always=True),
    of_finetuning("top1_exact", "top-1, exact"),
    of_finetuning("top1_exact_labelled", "top-1, exact, labelled"),
    of_finetuning("top1_batch", "top-1, batch"),
    of_finetuning("train_top1", "training top-1"),
    of_finetuning("auroc", "AUROC of std"),
    of_finetuning("auroc_entropy", "AUROC of entropy"),
    of_finetuning("auroc_max_probability", "AUROC of max. probability"),
)
BY_NAME = {measure.name: measure for measure in MEASURES}


def measured(run: RunRecord, name: str) -> float | None:
    """Return a value of a run by the name of its measure, None where it is missing."""
    return value_of(BY_NAME[name], run)


def value_of(measure: Measure, run: RunRecord) -> float | None:
    """Return the value of a measure in a run, None where it is missing or the run is of another kind."""
    return finite(measure.value(run)) if measure.is_of(run) else None


def finite(value: object) -> float | None:
    """Return a finite number as it is, and None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value


def measures_of(runs: Sequence[RunRecord]) -> tuple[list[Measure], list[Measure]]:
    """Return the measures that any of the runs has, and those that none has although its kind has it."""
    there = [
        measure for measure in MEASURES if any(value_of(measure, run) is not None for run in runs)
    ]
    lacking = [
        measure
        for measure in MEASURES
        if measure not in there and not measure.asked_for and any(map(measure.is_of, runs))
    ]
    return there, lacking


def have_verdicts(runs: Sequence[RunRecord]) -> bool:
    """Whether any of the runs has a verdict, without which its columns would be empty."""
    return any("verdict" in run.summary for run in runs)


def verdict_counts(runs: Sequence[RunRecord]) -> str:
    """Return how many runs have which verdict, the most common first, such as `complete 2/3, healthy 1/3`."""
    counts = Counter(str(run.summary.get("verdict", "-")) for run in runs)
    return ", ".join(f"{verdict} {count}/{len(runs)}" for verdict, count in counts.most_common())


def collapse_steps(runs: Sequence[RunRecord]) -> str:
    """Return when each run was collapsed in the order of the runs; one dash where none ever was.

    A run that ends collapsed has the step from which it is; one that left a complete collapse the rows of metrics.csv
    between which it was in it, such as `30 to 2390`; one that never was a dash.
    """
    stretches = [collapse_stretch(run) for run in runs]
    return ", ".join(stretches) if any(stretch != "-" for stretch in stretches) else "-"


def collapse_stretch(run: RunRecord) -> str:
    """Return the words of `collapse_steps` on one run."""
    step = run.summary.get("collapsed_at_step")
    if step is not None:
        return str(step)
    within = [step for step, verdict in run.verdicts if verdict == "complete"]
    return f"{within[0]} to {within[-1]}" if within else "-"


def probe_of(run: RunRecord) -> str:
    """Return how the linear top-1 of a run was measured, in words; empty where it was not."""
    evaluation = run.evaluation
    if measured(run, "linear_top1") is None:
        return ""
    if "top1" not in evaluation:
        return "the probe that ends a run (summary.json)"
    return f"linear_eval.json: {probe_words(evaluation)}"


def probe_words(record: Mapping[str, Any]) -> str:
    """Return how the probe of a record was fitted and on how many images it was tested."""
    return (
        f"{record.get('protocol', '?')}, {record.get('labels', '?')} labels, "
        f"{record.get('test_images', '?')} test images"
    )
