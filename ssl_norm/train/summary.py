"""Tables that a run prints at its end."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from rich.table import Table
from rich.text import Text

from ssl_norm.console import coloured
from ssl_norm.text import counted
from ssl_norm.train.run_folder import Row

COLOURS = {"healthy": "green", "complete": "red"}
PRETRAINING_ROWS = {  # keys of summary.json: heading and meaning
    "positive_cosine": ("positive cosine", "two views of one image; 1 at collapse"),
    "negative_cosine": ("negative cosine", "views of different images; 1 at collapse"),
    "feature_std": ("feature std", "1 at an even spread, 0 at collapse"),
    "effective_rank": ("effective rank", "dimensions in use, of the projector's width"),
}
PROBE_ROWS = {
    "linear_top1": ("linear top-1", "logistic regression on the frozen encoder"),
    "linear_top1_random_init": ("  random encoder", "the same network, untrained"),
    "linear_top1_image_statistics": ("  image statistics", "of the pixels, without an encoder"),
    "knn_top1": ("kNN top-1", "200 nearest neighbours in the frozen encoder's features"),
    "knn_top1_random_init": ("  random encoder", "the same network, untrained"),
    "knn_top1_image_statistics": ("  image statistics", "of the pixels, without an encoder"),
    "chance": ("  chance", "always the most common class"),
}
# Accuracies in summary.json of a fine-tuning: kind of statistics, and origins of exact statistics.
SCORES = {
    "top1": ("population", ("",)),
    "top1_exact": ("exact", ("all", "mixture")),
    "top1_exact_labelled": ("exact", ("labelled",)),
    "top1_batch": ("batch", ("",)),
}
AUROCS = {
    "auroc": ("AUROC of std", "spread over batch statistics"),
    "auroc_entropy": ("AUROC of entropy", "of the mean over batch statistics"),
    "auroc_max_probability": ("AUROC of 1 - max. probability", "of one pass, without drawing"),
}


def pretraining_table(summary: Mapping[str, Any]) -> Table:
    """Return a table of monitors, verdict and, after a probe, accuracies."""

    def numbers(rows: Mapping[str, tuple[str, str]]) -> Iterable[tuple[str, str, str]]:
        for name, (heading, meaning) in rows.items():
            yield heading, f"{summary[name]:.4f}" if name in summary else "-", meaning

    verdict = summary.get("verdict", "unknown")
    shown = coloured((verdict, f"bold {COLOURS.get(verdict, 'yellow')}"))
    rows: list[Sequence[str | Text]] = [
        *numbers(PRETRAINING_ROWS),
        ("verdict", shown, summary["evidence"]),
    ]
    if "linear_top1" in summary:
        rows += numbers(PROBE_ROWS)
    return _table(f"{summary['method']} after {counted(summary['steps'], 'step')}", rows)


def finetuning_table(summary: Mapping[str, Any], samples: int | None, *, by_batch: bool) -> Table:
    """Return a table of the accuracies in summary.json under each kind of statistics.

    `samples` is the number of views of exact statistics, or None if the network has no statistics;
    `by_batch` tells whether it evaluates with batch statistics.
    """
    rows = [
        (heading, f"{summary[name]:.4f}", meaning)
        for name, (heading, meaning) in _meanings(samples, by_batch).items()
        if name in summary
    ]
    rows.append(("chance", f"{summary['chance']:.4f}", "always the most common class"))
    if "train_top1" in summary:
        rows.append(("training views", f"{summary['train_top1']:.4f}", "of the last steps"))
    rows += [
        (heading, f"{summary[name]:.4f}", f"{meaning}, telling wrong from right")
        for name, (heading, meaning) in AUROCS.items()
        if name in summary
    ]
    labels = f"{summary['labels']:,} labels"
    return _table(f"top-1 after {counted(summary['steps'], 'step')} with {labels}", rows)


def final_scores(domains: Sequence[str], rows: Iterable[Row]) -> dict[str, float]:
    """Return the accuracies of `SCORES`, averaged over the domains of training.

    Rows are those of evaluations.csv at the last step; the first row of exact statistics counts.
    """
    summary = {}
    rows = [row for row in rows if row["split"] == "test" and row["domain"] in domains]
    for name, (statistics, origins) in SCORES.items():
        found: dict[str, float] = {}
        for row in rows:
            if row["statistics"] == statistics and row["statistics_from"] in origins:
                found.setdefault(str(row["domain"]), float(row["top1"]))
        if found:
            summary[name] = fmean(found.values())
    return summary


def _meanings(samples: int | None, by_batch: bool) -> dict[str, tuple[str, str]]:
    """Return heading and meaning of each accuracy."""
    if samples is None:
        return {"top1": ("test", "this network has no batch statistics")}
    views = f"recomputed on {samples:,} views of"
    used = ", as the network is used"
    return {
        "top1": ("population", f"running statistics{'' if by_batch else used}"),
        "top1_exact": ("exact", f"{views} all training images"),
        "top1_exact_labelled": ("exact, labelled", f"{views} the labelled images only"),
        "top1_batch": ("batch", f"of each batch of test images{used if by_batch else ''}"),
    }


def _table(title: str, rows: Iterable[Sequence[str | Text]]) -> Table:
    table = Table(show_header=False, title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    return table
