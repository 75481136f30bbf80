"""Lines that a run prints before its first step."""

from collections.abc import Iterator

import torch

from ssl_norm.data.dataset import ImageSet
from ssl_norm.distributed import world_size
from ssl_norm.norms.batch.freezing import freezable_statistics
from ssl_norm.norms.swap.replace import Replacement
from ssl_norm.settings.finetune import FinetuneSettings
from ssl_norm.settings.pretrain import PretrainSettings
from ssl_norm.text import counted
from ssl_norm.train.environment import hardware
from ssl_norm.train.finetune_builder import FinetuningImages, unlabelled_per_step
from ssl_norm.train.finetuning import FinetuningRun
from ssl_norm.train.loop import Run, count_parameters
from ssl_norm.train.optimizer import effective_learning_rate
from ssl_norm.train.pretraining import PretrainingRun
from ssl_norm.train.run_folder import RunFolder
from ssl_norm.train.run_settings import has_statistics_per_process, norm_names


def pretraining_banner(
    config: PretrainSettings,
    run: PretrainingRun,
    images: ImageSet,
    replaced: Replacement | None,
    folder: RunFolder,
    device: torch.device,
) -> Iterator[str]:
    """Yield lines on data, network, norms, schedule and run folder of a pretraining."""
    norms, optimizer = norm_names(config), config.optimizer
    step_images = config.batch_size * config.accumulate
    rate = effective_learning_rate(optimizer.lr, step_images)
    yield (
        f"{config.method.name} on {config.data.name}: {len(images)} images, "
        f"views of {config.data.view_size} px"
    )
    yield (
        f"encoder {config.encoder.name}, norms {norms['encoder']} ({replaced}); projector "
        f"{norms['projector']}, predictor {norms['predictor']}; "
        f"{count_parameters(run.network) / 1e6:.2f} M trained parameters"
    )
    if config.train:
        yield (
            f"{counted(config.epochs, 'epoch')} of {counted(run.steps_per_epoch, 'step')} of "
            f"{step_images} images; "
            f"{optimizer.name}, learning rate {optimizer.lr:g} x {step_images} / 256 = {rate:.4g}"
        )
    else:
        yield (
            "nothing is trained; the initial network is measured on "
            f"{counted(run.steps_per_epoch, 'batch', 'batches')}"
        )
    yield f"{hardware(device)}; run folder {folder}"
    if world_size() > 1 and has_statistics_per_process(config):
        yield (
            f"{world_size()} processes: a batch norm sees the {config.batch_size // world_size()} "
            "images of its process; with the option sync: true it sees the images of all"
        )
    yield from _course(run)


def finetuning_banner(
    config: FinetuneSettings,
    run: FinetuningRun,
    images: FinetuningImages,
    folder: RunFolder,
    device: torch.device,
) -> Iterator[str]:
    """Yield lines on images, network, schedule and run folder of a fine-tuning."""
    optimizer, size, labelled = config.optimizer, config.batch_size, len(images.labelled)
    rate = effective_learning_rate(optimizer.lr, size)
    unlabelled, norm = unlabelled_per_step(config), norm_names(config)["encoder"]
    joint = f" plus {unlabelled} unlabelled, which share the batch statistics" if unlabelled else ""
    yield (
        f"classifier of {len(images.labelled.classes)} classes on {config.data.name}: "
        f"{labelled:,} labelled and {len(images.unlabelled):,} unlabelled images, "
        f"{len(images.test):,} to test on, views of {config.data.view_size} px"
    )
    yield (
        f"encoder {config.encoder.name} from {config.checkpoint or 'scratch'}, norm {norm}; "
        f"{count_parameters(run.network) / 1e6:.2f} M trained parameters"
    )
    yield (
        f"{config.steps} steps of {size} labelled images{joint}: "
        f"{config.steps * size / labelled:.3g} passes over the labelled ones; {optimizer.name}, "
        f"learning rate {optimizer.lr:g} x {size} / 256 = {rate:.4g}"
    )
    yield f"{hardware(device)}; run folder {folder}"
    if (chunk := config.grouping.chunk) is not None:
        spread = ", then shuffled within the batch" if config.grouping.shuffle else ""
        yield (
            f"batches of {size // chunk} chunks of {chunk} images of "
            f"{config.grouping.classes} class(es){spread}"
        )
    if config.domains:
        yield f"an equal chunk of each batch is {', '.join(map(str, config.domains))}"
    yield from _course(run)


def _course(run: Run) -> Iterator[str]:
    """Yield lines on frozen statistics, and on a run that is resumed."""
    if run.frozen_from < run.steps:
        layers = len(freezable_statistics(run.network))
        yield (
            f"statistics of {layers} batch norms are frozen from step {run.frozen_from} of "
            f"{run.steps} on"
        )
    if run.first_step:
        yield f"resumed after step {run.first_step}"
