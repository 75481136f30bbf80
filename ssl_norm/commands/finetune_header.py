"""What a fine-tuning says before its first step."""

from collections.abc import Iterator
from pathlib import Path

import torch
from rich.console import Console

from ssl_norm.commands.finetune_run import unlabelled_per_step
from ssl_norm.commands.header import course_lines
from ssl_norm.config import FinetuneConfig, ScoringConfig, UbnConfig
from ssl_norm.data.dataset import ImageSet
from ssl_norm.evaluate.classifier.inputs import keeps_statistics
from ssl_norm.evaluate.classifier.scores import TrainingImages
from ssl_norm.train.environment import hardware
from ssl_norm.train.loop import count_parameters
from ssl_norm.train.run_folder import norm_names
from ssl_norm.train.schedule import effective_learning_rate
from ssl_norm.train.supervised import SupervisedTraining


def print_header(
    config: FinetuneConfig,
    run: SupervisedTraining,
    images: TrainingImages,
    unlabelled: ImageSet,
    folder: Path,
    device: torch.device,
) -> None:
    """Print images, network, schedule and the effective learning rate, a line each."""
    optimizer, size, labelled = config.optimizer, config.batch_size, len(images.labelled)
    rate = effective_learning_rate(optimizer.lr, size)
    beside = unlabelled_per_step(config)
    joint = f" and {beside} unlabelled ones, which set the statistics with them" if beside else ""
    lines = [
        f"classifier of {len(images.labelled.classes)} classes on {config.data.name}: {labelled:,} labelled and "
        f"{len(unlabelled):,} unlabelled images, {len(images.test):,} to test on, views of {config.data.view_size} px",
        f"encoder {config.encoder.name} from {config.checkpoint or 'scratch'}, norm {norm_names(config)['encoder']}; "
        f"{count_parameters(run.model) / 1e6:.2f} M trained parameters",
        f"{config.steps} steps of {size} labelled images{joint}: {config.steps * size / labelled:.3g} passes over the "
        f"labelled ones; {optimizer.name}, learning rate {optimizer.lr:g} x {size} / 256 = {rate:.4g}",
        f"{hardware(device)}; run folder {folder}",
    ]
    if config.grouping.chunk is not None:
        spread = ", then spread over the batch" if config.grouping.shuffle else ""
        lines.append(
            f"batches of {size // config.grouping.chunk} chunks of {config.grouping.chunk} images of "
            f"{config.grouping.classes} class(es){spread}"
        )
    if config.domains:
        lines.append(f"an equal chunk of each batch is {', '.join(map(str, config.domains))}")
    lines += unused_lines(config, keeps_statistics(run.model))
    lines += course_lines(run.model, run.first_step, run.frozen_from, run.steps)
    Console(stderr=True).print("\n".join(lines), highlight=False, soft_wrap=True)


def unused_lines(config: FinetuneConfig, has_statistics: bool) -> Iterator[str]:
    """Yield what was set and means nothing in this run."""
    norm = norm_names(config)["encoder"]
    if config.ubn != UbnConfig() and not unlabelled_per_step(config):
        yield f"not used: ubn.*, which is of norm.encoder=ubn, and the norm is {norm}"
    if config.evaluation.adapt_samples != ScoringConfig().adapt_samples and (
        not config.evaluation.corruptions
    ):
        yield "not used: evaluation.adapt_samples, as there are no evaluation.corruptions"
    if not has_statistics and config.evaluation.statistics != ScoringConfig().statistics:
        yield f"not used: evaluation.statistics, as norm {norm} has no statistics of batches"
