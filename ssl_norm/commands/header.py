"""What a run says before its first step."""

from collections.abc import Iterator
from pathlib import Path

import torch
from rich.console import Console
from torch import nn

from ssl_norm.config import PretrainConfig
from ssl_norm.data.dataset import ImageSet
from ssl_norm.distributed import world_size
from ssl_norm.norms.batch.freezing import freezable_statistics
from ssl_norm.norms.swap.replace import Replacement
from ssl_norm.train.environment import hardware
from ssl_norm.train.loop import Training, count_parameters
from ssl_norm.train.run_folder import has_statistics_per_process, norm_names
from ssl_norm.train.schedule import effective_learning_rate


def print_header(
    config: PretrainConfig,
    run: Training,
    images: ImageSet,
    replaced: Replacement | None,
    folder: Path,
    device: torch.device,
) -> None:
    """Print data, network, norms, schedule and the effective learning rate on four lines."""
    norms = norm_names(config)
    optimizer = config.optimizer
    images_per_step = config.batch_size * config.accumulate
    rate = effective_learning_rate(optimizer.lr, images_per_step)
    lines = [
        f"{config.method.name} on {config.data.name}: {len(images)} images, views of {config.data.view_size} px",
        f"encoder {config.encoder.name}, norms {norms['encoder']} ({replaced}); projector {norms['projector']}, "
        f"predictor {norms['predictor']}; {count_parameters(run.learner) / 1e6:.2f} M trained parameters",
        f"{config.epochs} epochs of {run.steps_per_epoch} steps of {images_per_step} images; "
        f"{optimizer.name}, learning rate {optimizer.lr:g} x {images_per_step} / 256 = {rate:.4g}"
        if config.train
        else f"nothing is trained; the initial network is measured on {run.steps_per_epoch} batches",
        f"{hardware(device)}; run folder {folder}",
    ]
    if world_size() > 1 and has_statistics_per_process(config):
        each = config.batch_size // world_size()
        lines.append(
            f"{world_size()} processes: batch norms see the {each} images of their own process "
            "(those of all with the option sync: true)"
        )
    lines += course_lines(run.learner, run.first_step, run.frozen_from, run.steps)
    Console(stderr=True).print("\n".join(lines), highlight=False, soft_wrap=True)


def course_lines(
    network: nn.Module, first_step: int, frozen_from: int, steps: int
) -> Iterator[str]:
    """Yield what is out of the ordinary in the course of a run: frozen statistics, a start that is not its first."""
    if frozen_from < steps:
        layers = len(freezable_statistics(network))
        yield f"statistics of {layers} batch norms are frozen from step {frozen_from} of {steps} on"
    if first_step:
        yield f"resumed after step {first_step}"
