"""The values of a run that the tables show, and where each of them stands in its files."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ssl_norm.report.read import RunRecord


class Measure(NamedTuple):
    """One value of a run.

    Attributes:
        name: in table.csv.
        heading: in the other tables.
        decimals: shown.
        value: reads it from a record; anything but a finite number is missing.
    """

    name: str
    heading: str
    decimals: int
    value: Callable[[RunRecord], object]


MEASURES: tuple[Measure, ...] = (
    Measure(
        "positive_cosine", "positive cosine", 4, lambda run: run.summary.get("positive_cosine")
    ),
    Measure(
        "negative_cosine", "negative cosine", 4, lambda run: run.summary.get("negative_cosine")
    ),
    Measure("feature_std", "feature std", 4, lambda run: run.summary.get("feature_std")),
    Measure("rank_me", "RankMe", 1, lambda run: run.summary.get("rank_me")),
    Measure("effective_rank", "effective rank", 1, lambda run: run.summary.get("effective_rank")),
    Measure(
        "linear_top1",
        "linear top-1",
        3,
        lambda run: run.evaluation.get("top1", run.summary.get("linear_top1")),
    ),
    Measure(
        "linear_top1_random_init",
        "linear top-1, random init",
        3,
        lambda run: run.evaluation.get(
            "top1_random_init", run.summary.get("linear_top1_random_init")
        ),
    ),
    Measure(
        "knn_top1",
        "kNN top-1",
        3,
        lambda run: run.evaluation.get("knn_top1", run.summary.get("knn_top1")),
    ),
    Measure(
        "knn_top1_random_init",
        "kNN top-1, random init",
        3,
        lambda run: run.evaluation.get(
            "knn_top1_random_init", run.summary.get("knn_top1_random_init")
        ),
    ),
)
BY_NAME = {measure.name: measure for measure in MEASURES}


def measured(run: RunRecord, name: str) -> float | None:
    """Return a value of a run by the name of its measure, None where it is missing."""
    return finite(BY_NAME[name].value(run))


def finite(value: object) -> float | None:
    """Return a finite number as it is, and None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value


def measures_of(runs: Sequence[RunRecord]) -> tuple[list[Measure], list[Measure]]:
    """Return the measures that any of the runs has, and those that none has."""
    there = [
        measure
        for measure in MEASURES
        if any(finite(measure.value(run)) is not None for run in runs)
    ]
    return there, [measure for measure in MEASURES if measure not in there]


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
    return (
        f"linear_eval.json: {evaluation.get('protocol', '?')}, {evaluation.get('labels', '?')} labels, "
        f"{evaluation.get('test_images', '?')} test images"
    )
