"""Exact population statistics of a checkpoint: tools/population_stats.py."""

from functools import partial
from typing import Literal

import torch
from torch import nn

from ssl_norm.commands.linear_eval import evaluation_of
from ssl_norm.console import say, warned
from ssl_norm.data.corruption.dataset import corrupted
from ssl_norm.data.corruption.spec import Corruption, parse_corruption
from ssl_norm.data.dataset import Splits
from ssl_norm.errors import UserError
from ssl_norm.evaluate.accuracy import Score, score
from ssl_norm.evaluate.checkpoint import Checkpoint
from ssl_norm.evaluate.classifier import corrupting, domain_name
from ssl_norm.evaluate.population import (
    Evaluate,
    Tested,
    compare_statistics,
    population_record,
    print_comparison,
    with_labels_of,
)
from ssl_norm.evaluate.record import Result, opened
from ssl_norm.figures import save_figure
from ssl_norm.figures.layers import shift_figure
from ssl_norm.files import write_json
from ssl_norm.settings.tools import PopulationStatsSettings
from ssl_norm.train.environment import describe_environment
from ssl_norm.train.population import recompute_over_images


def population_stats(config: PopulationStatsSettings) -> Result:
    """Write a checkpoint with exact population statistics, and a record of their effect.

    Raises:
        UserError: the checkpoint, the data and the settings do not fit each other.
    """
    with opened(config, lambda path: f"{path.stem}_exact.pt") as (checkpoint, output, device):
        views = _views(config, checkpoint)
        corruption = parse_corruption(config.corruption or "clean")
        network, evaluated = checkpoint.networks()
        network.to(device)
        splits = checkpoint.images(checkpoint.limit)
        recompute = partial(
            recompute_over_images,
            network,
            corrupting(checkpoint.network_views(views), [corruption]),
            splits.pretrain,
            samples=config.samples,
            batch_size=config.batch_size,
            seed=config.seed,
            each_once=views == "plain",
        )
        evaluate, tested = _evaluation_of(config, checkpoint, splits, corruption, device)
        compared = compare_statistics(evaluated, evaluate, recompute)
        record = {
            **population_record(compared, tested),
            **config.model_dump(include={"batch_size", "seed"}),
            "views": views,
            "images": len(splits.pretrain),
            "corruption": config.corruption and domain_name(corruption),
            "checkpoint": str(checkpoint.path),
            "data": checkpoint.source,
            "environment": describe_environment(device),
        }
        checkpoint.save_as(output, network)
        stem = output if config.output is not None else output.with_name("population_stats")
        result, picture = stem.with_suffix(".json"), stem.with_suffix(".png")
        write_json(result, record)
        with warned(picture.name):
            save_figure(shift_figure(compared.report.shifts), picture)
        images = f"{compared.samples:,} {views} views of {len(splits.pretrain):,} images"
        say(f"exact statistics of {images}")
        print_comparison(compared, tested)
        say(f"written to {output}; {result.name} and {picture.name} are next to it", stderr=False)
        return Result(record, result, {"checkpoint": output, "picture": picture})


def _views(config: PopulationStatsSettings, checkpoint: Checkpoint) -> Literal["train", "plain"]:
    """Return the views of the settings, or the usual ones of the kind of the checkpoint.

    Refuses settings that do not fit the kind, and warns about frozen statistics.
    """
    path, kind = checkpoint.path, checkpoint.kind
    overridden = (*vars(config.encoder).values(), config.norm.encoder)
    if kind == "classifier" and any(value is not None for value in overridden):
        raise UserError(
            "encoder.* and norm.encoder: a classifier has its own encoder and norm; leave them out"
        )
    if kind != "classifier" and config.corruption is not None:
        raise UserError(
            f"corruption={config.corruption} is for classifiers of tools/finetune.py, but "
            f"{path} has none"
        )
    if kind == "weights" and config.views == "train":
        raise UserError(
            f"views=train: {path} is not a run of this package and does not tell its "
            "augmentation; use views=plain"
        )
    key = "freeze_last" if kind == "classifier" else "freeze_last_epochs"
    if frozen := checkpoint.saved.get("norm", {}).get(key):
        say(
            f"norm.{key}={frozen:g}: this run ended with frozen statistics, and its weights have "
            "adapted to these; exact statistics may be worse"
        )
    return config.views or ("plain" if kind == "weights" else "train")


def _evaluation_of(
    config: PopulationStatsSettings,
    checkpoint: Checkpoint,
    splits: Splits,
    corruption: Corruption | None,
    device: torch.device,
) -> tuple[Evaluate, Tested | None]:
    """Return a function that evaluates a network on the labelled images, and these, or None."""
    if splits.train is None or splits.test is None:
        say(f"data={checkpoint.data['name']} has no labels here: statistics only, no accuracies")
        return lambda network, random_batches=False: None, None
    if checkpoint.kind != "classifier":
        evaluate = evaluation_of(config, checkpoint.labelled_images(splits), device)
        headings = {"top1": "linear top-1", "knn_top1": "kNN top-1"}
        return evaluate, Tested("frozen encoder", splits.test, headings)
    classes, size, seed = checkpoint.contents["classes"], config.batch_size, config.seed
    test = corrupted(with_labels_of(splits.test, classes), corruption, seed)

    def scored(network: nn.Module, *, random_batches: bool = False) -> Score:
        """Score with a seeded order, if batches shall be random."""
        order, view = seed if random_batches else None, checkpoint.evaluation_view
        return score(network, test, view, batch_size=size, device=device, seed=order)

    return scored, Tested("classifier", test, {"top1": "top-1", "loss": "loss in nats"})
