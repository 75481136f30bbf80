"""The end of a fine-tuning: summary.json, picture, table."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from rich.table import Table

from ssl_norm.commands.dashboard import shown_settings
from ssl_norm.commands.run_end import print_end, run_summary
from ssl_norm.config import FinetuneConfig
from ssl_norm.errors import NonFiniteLoss
from ssl_norm.evaluate.accuracy import majority_frequency
from ssl_norm.evaluate.classifier.inputs import keeps_statistics, training_domains
from ssl_norm.evaluate.classifier.rows import domain_name
from ssl_norm.evaluate.classifier.scores import TrainingImages
from ssl_norm.evaluate.classifier.uncertainty import uncertainty_summary
from ssl_norm.figures.accuracy import accuracies, accuracy_figure
from ssl_norm.train.run_folder import Row, norm_specs, read_metrics, write_json
from ssl_norm.train.supervised import SupervisedTraining
from ssl_norm.train.tensorboard import TensorBoard

# What summary.json tells of the final scores: statistics, and what exact ones are of.
SCORES = {
    "top1": ("population", ("",)),
    "top1_exact": ("exact", ("all", "mixture")),
    "top1_exact_labelled": ("exact", ("labelled",)),
    "top1_batch": ("batch", ("",)),
}
AUROCS = {
    "auroc": ("AUROC of std", "spread over batch statistics"),
    "auroc_entropy": ("AUROC of entropy", "of the mean over batch statistics"),
    "auroc_max_probability": ("AUROC of 1 - max. probability", "without any drawing"),
}


def finish(
    config: FinetuneConfig,
    folder: Path,
    run: SupervisedTraining,
    images: TrainingImages,
    ending: NonFiniteLoss | None,
    device: torch.device,
) -> None:
    """Write summary.json and accuracy.png, complete TensorBoard, and print the table."""
    rows = read_metrics(folder / "metrics.csv")
    scores = read_metrics(folder / "evaluations.csv")
    summary = summarise(config, images, rows, run.first_step)
    if ending is None:
        summary |= final_scores(config, [row for row in scores if row["step"] == run.steps])
        if config.evaluation.uncertainty:
            summary |= uncertainty_summary(
                config, run.model, images, make_views=run.make_views, device=device
            )
    summary["ended"] = "done" if ending is None else "non_finite_loss"
    write_json(folder / "summary.json", summary)
    board = TensorBoard(folder, int(summary["steps"]))
    board.hyperparameters(
        shown_settings(config),
        {
            name: summary[name]
            for name in ("loss", "train_top1", *SCORES, *AUROCS)
            if name in summary
        },
    )
    board.close()
    if any(len(points) > 1 for points in accuracies(scores).values()):
        accuracy_figure(scores).savefig(folder / "accuracy.png", dpi=120)
    print_end(summary_table(config, summary, keeps_statistics(run.model)), folder)


def summarise(
    config: FinetuneConfig, images: TrainingImages, rows: Sequence[Row], first_step: int
) -> dict[str, Any]:
    """Return summary.json less the scores."""
    assert images.test.labels is not None
    return {
        "tool": "finetune",
        **run_summary(config, rows, {"step": first_step}),
        "labels": len(images.labelled),
        "chance": majority_frequency(images.test.labels),
    }


def final_scores(config: FinetuneConfig, rows: Sequence[Row]) -> dict[str, float]:
    """Return the accuracies on the test images by their names in summary.json; of several domains the means.

    Where exact statistics were taken in several ways, it is the first one that counts.
    """
    domains = list(map(domain_name, training_domains(config)))
    summary = {}
    for name, (statistics, origins) in SCORES.items():
        found: dict[str, float] = {}
        for row in rows:
            kind = row["split"], row["statistics"], row["statistics_from"] in origins
            if kind == ("test", statistics, True) and row["domain"] in domains:
                found.setdefault(str(row["domain"]), float(row["top1"]))
        if found:
            summary[name] = fmean(found.values())
    return summary


def meanings(config: FinetuneConfig, has_statistics: bool) -> dict[str, tuple[str, str]]:
    """Return title and meaning of each accuracy, of a network with or without statistics of batches."""
    if not has_statistics:
        return {"top1": ("test", "no statistics of batches in this network")}
    views = f"recomputed on {config.evaluation.samples[0]:,} views of"
    spec = norm_specs(config).get("encoder")
    by_batch = spec is not None and spec.options.get("evaluation") == "batch"
    used = ", as the network is used"
    return {
        "top1": ("population", f"running statistics{'' if by_batch else used}"),
        "top1_exact": ("exact", f"{views} all training images"),
        "top1_exact_labelled": ("exact, labelled", f"{views} the labelled images alone"),
        "top1_batch": ("batch", f"of the batch of test images at hand{used if by_batch else ''}"),
    }


def summary_table(config: FinetuneConfig, summary: dict[str, Any], has_statistics: bool) -> Table:
    """Return the short table that a run ends with."""
    table = Table(
        show_header=False,
        title=f"top-1 after {summary['steps']} steps with {summary['labels']:,} labels",
        title_justify="left",
    )
    for name, (title, meaning) in meanings(config, has_statistics).items():
        if name in summary:
            table.add_row(title, f"{summary[name]:.4f}", meaning)
    table.add_row("chance", f"{summary['chance']:.4f}", "always the most common class")
    if "train_top1" in summary:
        table.add_row("training views", f"{summary['train_top1']:.4f}", "of the last steps")
    for name, (title, meaning) in AUROCS.items():
        if name in summary:
            table.add_row(title, f"{summary[name]:.4f}", f"{meaning}, telling wrong from right")
    return table
