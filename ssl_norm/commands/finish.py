"""The end of a run: linear probe, summary.json, picture, table."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import nn

from ssl_norm.commands.dashboard import complete_dashboard
from ssl_norm.commands.run_end import print_end, run_summary
from ssl_norm.config import PretrainConfig
from ssl_norm.data.dataset import Splits
from ssl_norm.errors import CollapseStop, NonFiniteLoss
from ssl_norm.evaluate.protocol import Probe, ProbeImages, evaluate_encoder
from ssl_norm.figures import cosine_figure
from ssl_norm.train.builder import initial_encoder
from ssl_norm.train.loop import Training
from ssl_norm.train.run_folder import Row, norm_names, read_metrics, write_json

ENDINGS = {type(None): "done", CollapseStop: "collapse", NonFiniteLoss: "non_finite_loss"}


def finish(
    config: PretrainConfig,
    folder: Path,
    run: Training,
    splits: Splits,
    ending: CollapseStop | NonFiniteLoss | None,
    device: torch.device,
) -> None:
    """Evaluate the encoder, write summary.json and collapse.png, and print the table."""
    rows = read_metrics(folder / "metrics.csv")
    summary = summarise(config, run, rows)
    if config.linear_probe and not isinstance(ending, NonFiniteLoss):
        summary |= linear_probe(config, run.learner.encoder, splits, device)
    complete_dashboard(config, folder, run.learner.encoder, splits, summary, device)
    summary["ended"] = ENDINGS[type(ending)]
    if isinstance(ending, CollapseStop) and ending.rolled_back_to is not None:
        summary["rolled_back_to_step"] = ending.rolled_back_to  # accuracies are of this step
    write_json(folder / "summary.json", summary)
    if rows:
        heads = "/".join(list(norm_names(config).values())[1:])
        began = summary["collapsed_at_step"]
        since = "" if began is None else f" since step {began}"
        title = f"{config.method.name}, heads {heads}: {summary.get('verdict', 'unknown')}{since}"
        picture = cosine_figure([(title, rows)], [began])
        picture.savefig(folder / "collapse.png", dpi=120)
    print_end(summary_table(summary), folder)


def linear_probe(
    config: PretrainConfig, encoder: nn.Module, splits: Splits, device: torch.device
) -> dict[str, float]:
    """Return linear and kNN top-1 of the encoder and of its random initialisation; nothing without labels.

    Beside them chance, and the fraction of the training labels that was used.
    """
    if splits.train is None or splits.test is None:
        return {}
    mean, std = config.augment.mean, config.augment.std
    evaluate = partial(
        evaluate_encoder,
        images=ProbeImages(splits.train, splits.test, config.data.view_size, mean, std),
        probe=Probe(labels=config.probe_labels, seed=config.seed),
        device=device,
        progress=True,
    )
    trained, random_init = evaluate(encoder), evaluate(initial_encoder(config)[0])
    return {
        "linear_top1": trained.top1,
        "linear_top1_random_init": random_init.top1,
        "knn_top1": trained.knn_top1,
        "knn_top1_random_init": random_init.knn_top1,
        "chance": trained.chance,
        "probe_labels": config.probe_labels,
    }


def summarise(config: PretrainConfig, run: Training, rows: Sequence[Row]) -> dict[str, Any]:
    """Return summary.json less the probe."""
    untrained: Row = {"step": run.first_step, "verdict": run.monitor.verdict}
    return {
        "method": config.method.name,
        **run_summary(config, rows, untrained),
        "collapsed_at_step": run.monitor.collapsed_at_step,
        "evidence": run.monitor.evidence,
    }


def summary_table(summary: dict[str, Any]) -> Table:
    """Return the short table that a run ends with."""
    verdict = summary.get("verdict", "unknown")
    colour = {"healthy": "green", "complete": "red"}.get(verdict, "yellow")
    rows = [
        (
            "positive cosine",
            number(summary, "positive_cosine"),
            "two views of one image; 1 at collapse",
        ),
        (
            "negative cosine",
            number(summary, "negative_cosine"),
            "views of different images; 1 at collapse",
        ),
        (
            "feature std",
            number(summary, "feature_std"),
            "1 for evenly spread features, 0 at collapse",
        ),
        (
            "effective rank",
            number(summary, "effective_rank"),
            "dimensions in use, of the projector's width",
        ),
        ("verdict", f"[bold {colour}]{verdict}[/]", summary["evidence"]),
    ]
    if "linear_top1" in summary:
        rows += [
            (
                "linear top-1",
                number(summary, "linear_top1"),
                "logistic regression on the frozen encoder",
            ),
            (
                "  random encoder",
                number(summary, "linear_top1_random_init"),
                "the same network, untrained",
            ),
            (
                "kNN top-1",
                number(summary, "knn_top1"),
                "200 nearest neighbours in the frozen encoder's features",
            ),
            (
                "  random encoder",
                number(summary, "knn_top1_random_init"),
                "the same network, untrained",
            ),
            ("  chance", number(summary, "chance"), "always the most common class"),
        ]
    table = Table(
        show_header=False,
        title=f"{summary['method']} after {summary['steps']} steps",
        title_justify="left",
    )
    for row in rows:
        table.add_row(*row)
    return table


def number(summary: dict[str, Any], name: str) -> str:
    """Return a value with four decimals, or a dash where it was not measured."""
    return f"{summary[name]:.4f}" if name in summary else "-"
