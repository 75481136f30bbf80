"""Exact population statistics of a checkpoint, and their effect."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from ssl_norm.commands.linear_eval import evaluation_of
from ssl_norm.config import PopulationStatsConfig
from ssl_norm.console import say
from ssl_norm.data.corruption.spec import parse_corruption
from ssl_norm.data.dataset import Splits
from ssl_norm.errors import UserError
from ssl_norm.evaluate.checkpoint import Checkpoint
from ssl_norm.evaluate.classifier.inputs import corrupting
from ssl_norm.evaluate.classifier.population import classifier_scores
from ssl_norm.evaluate.classifier.rows import domain_name
from ssl_norm.evaluate.population_table import (
    Accuracies,
    evaluation_table,
    population_record,
    shift_table,
)
from ssl_norm.evaluate.record import find_output
from ssl_norm.figures.shifts import shift_figure
from ssl_norm.norms.batch.evaluation_statistics import (
    batch_statistics_at_evaluation,
    population_statistics_at_evaluation,
)
from ssl_norm.norms.batch.population_report import PopulationReport
from ssl_norm.norms.batch.precise_bn import recomputable
from ssl_norm.train.builder import naming
from ssl_norm.train.checkpoint import save_checkpoint
from ssl_norm.train.device import pick_device
from ssl_norm.train.environment import describe_environment
from ssl_norm.train.population import MakeViews, recompute_over_images
from ssl_norm.train.run_folder import write_json

HEADINGS = {"top1": "linear top-1", "knn_top1": "kNN top-1"}
Evaluate = Callable[..., Accuracies | None]


@dataclass(frozen=True)
class PopulationStatistics:
    """Result of a recomputation of statistics.

    Attributes:
        record: content of the JSON file.
        path: of the JSON file; the picture is beside it.
        checkpoint: path of the new checkpoint.
    """

    record: dict[str, Any]
    path: Path
    checkpoint: Path


def population_stats(config: PopulationStatsConfig) -> PopulationStatistics:
    """Write a checkpoint with exact population statistics, and a record of their effect.

    Raises:
        UserError: the checkpoint, the data or the settings do not allow it.
    """
    device = pick_device(config.device)
    checkpoint = Checkpoint.read(config.checkpoint, config.model_dump())
    output = _find_new_checkpoint(config.output, checkpoint.path)
    _check(config, checkpoint)
    views = config.views or ("plain" if checkpoint.kind == "weights" else "train")
    make_views = _views_of(config, checkpoint, views)
    network, evaluated = _networks_of(checkpoint)
    with naming("encoder"):
        recomputable(evaluated)
    network.to(device)
    splits = checkpoint.images(checkpoint.limit)
    evaluate = _evaluation_of(config, checkpoint, splits, device)
    with population_statistics_at_evaluation(evaluated):
        evaluations = {"population": evaluate(evaluated)}
    with naming("checkpoint"):
        report, samples = recompute_over_images(
            network,
            make_views,
            splits.pretrain,
            samples=config.samples,
            batch_size=config.batch_size,
            seed=config.seed,
            device=device,
            each_once=views == "plain",
        )
    with population_statistics_at_evaluation(evaluated):
        evaluations["exact"] = evaluate(evaluated)
    with naming("batch_size"), batch_statistics_at_evaluation(evaluated):
        evaluations["batch"] = evaluate(evaluated, random_batches=True)
    record = population_record(report, evaluations) | {
        "batch_size": config.batch_size,
        "seed": config.seed,
        "views": views,
        "samples": samples,
        "images": len(splits.pretrain),
        "corruption": config.corruption and domain_name(parse_corruption(config.corruption)),
        "checkpoint": str(checkpoint.path),
        "data": {name: checkpoint.data.get(name) for name in ("name", "root")},
        "environment": describe_environment(device),
    }
    _save(output, checkpoint, network)
    stem = output.with_name("population_stats") if config.output is None else output
    write_json(stem.with_suffix(".json"), record)
    shift_figure(report.shifts).savefig(stem.with_suffix(".png"), dpi=120)
    say(f"exact statistics of {samples:,} {views} views of {len(splits.pretrain):,} images")
    _print(report, evaluations, output, stem)
    return PopulationStatistics(record, stem.with_suffix(".json"), output)


def _check(config: PopulationStatsConfig, checkpoint: Checkpoint) -> None:
    """Refuse settings that do not fit the kind of the checkpoint; warn of frozen statistics."""
    if checkpoint.kind == "classifier":
        given = (*vars(config.encoder).values(), config.norm.encoder)
        if any(value is not None for value in given):
            raise UserError(
                "encoder.* and norm.encoder: a classifier is scored with its own; leave them out"
            )
    elif config.corruption is not None:
        raise UserError(
            f"corruption={config.corruption}: for classifiers of tools/finetune.py, and "
            f"{checkpoint.path} holds none"
        )
    if checkpoint.kind == "weights" and config.views == "train":
        raise UserError(
            f"views=train: {checkpoint.path} is no run of this package and does not tell its "
            "augmentation; use views=plain"
        )
    key = "freeze_last" if checkpoint.kind == "classifier" else "freeze_last_epochs"
    if frozen := checkpoint.saved.get("norm", {}).get(key):
        say(
            f"norm.{key}={frozen:g}: this run ended with frozen statistics, to which its weights "
            "have adapted; exact ones may serve it worse"
        )


def _views_of(config: PopulationStatsConfig, checkpoint: Checkpoint, views: str) -> MakeViews:
    """Return the function from a batch of images to the views of the network."""
    if views == "plain":
        make_views = checkpoint.plain_views(2 if checkpoint.kind == "run" else 1)
    else:
        make_views = checkpoint.random_views(checkpoint.settings().augment)
    if checkpoint.kind != "classifier":
        return make_views
    return corrupting(make_views, [parse_corruption(config.corruption or "clean")])


def _networks_of(checkpoint: Checkpoint) -> tuple[nn.Module, nn.Module]:
    """Return the network whose statistics are recomputed, and the part that is evaluated.

    They are a learner with target network and heads, and its encoder; a classifier, and all of it;
    or an encoder, and all of it.
    """
    if checkpoint.kind == "run":
        learner = checkpoint.learner()
        return learner, learner.encoder
    if checkpoint.kind == "classifier":
        classifier = checkpoint.classifier()
        return classifier, classifier
    encoder, match = checkpoint.encoder()
    say(f"{checkpoint.path}: {match}")
    return encoder, encoder


def _evaluation_of(
    config: PopulationStatsConfig, checkpoint: Checkpoint, splits: Splits, device: torch.device
) -> Evaluate:
    """Return the evaluation of a network on the labelled images; it gives None without labels."""
    if splits.train is None or splits.test is None:
        say(f"data={checkpoint.data['name']} has no labels here: statistics only, no accuracies")
        return lambda network, random_batches=False: None
    if checkpoint.kind == "classifier":
        return classifier_scores(
            splits.test,
            checkpoint.contents["classes"],
            checkpoint.evaluation_view,
            corruption=parse_corruption(config.corruption or "clean"),
            batch_size=config.batch_size,
            seed=config.seed,
            device=device,
        )
    images = checkpoint.labelled_images(splits)
    evaluate = evaluation_of(config, images, device)

    def accuracies(encoder: nn.Module, *, random_batches: bool = False) -> Accuracies:
        found = evaluate(encoder, random_batches=random_batches)
        values = {"top1": found.top1, "knn_top1": found.knn_top1}
        return Accuracies("frozen encoder", len(images.test), values, HEADINGS, found.chance)

    return accuracies


def _find_new_checkpoint(given: str | None, checkpoint: Path) -> Path:
    path = find_output(given, checkpoint, f"{checkpoint.stem}_exact.pt")
    if path.exists() and path.samefile(checkpoint):
        raise UserError(f"output={path} is the checkpoint itself; name another file")
    return path


def _save(path: Path, checkpoint: Checkpoint, network: nn.Module) -> None:
    """Write the checkpoint of a run with new statistics, or an encoder's state dict."""
    state = {name: value.cpu() for name, value in network.state_dict().items()}
    if checkpoint.kind == "weights":
        save_checkpoint(path, {"encoder": state})
    else:
        save_checkpoint(path, {**checkpoint.contents, "learner": state})


def _print(
    report: PopulationReport,
    evaluations: Mapping[str, Accuracies | None],
    output: Path,
    stem: Path,
) -> None:
    console = Console()
    console.print(shift_table(report))
    found = {name: each for name, each in evaluations.items() if each is not None}
    if found:
        console.print(evaluation_table(found))
    plainly = partial(console.print, highlight=False, soft_wrap=True, markup=False)
    if report.not_called:
        plainly(f"never called, as they were: {', '.join(report.not_called)}")
    for name, reason in report.not_recomputed.items():
        plainly(f"not recomputed: {name} ({reason})")
    plainly(f"written to {output}, {stem.stem}.json and {stem.stem}.png beside it")
