"""Builders of the parts of a pretraining from its settings."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ssl_norm.console import say
from ssl_norm.data.batches.image_batches import Batches
from ssl_norm.data.dataset import ImageSet
from ssl_norm.distributed import rank, world_size
from ssl_norm.errors import UserError
from ssl_norm.learners.learner import Learner
from ssl_norm.models.load import load_encoder_weights
from ssl_norm.monitors import CollapseMonitor
from ssl_norm.monitors.layers import LayerMonitor, layers_of
from ssl_norm.settings.pretrain import PretrainSettings
from ssl_norm.text import counted
from ssl_norm.train.builder import (
    learning_rate_of,
    make_learner,
    make_views,
    move_to_device,
    optimizer_of,
)
from ssl_norm.train.device import autocast
from ssl_norm.train.pretraining import PretrainingRun

PICTURED_IMAGES = 32


def make_training(
    config: PretrainSettings,
    encoder: nn.Module,
    images: ImageSet,
    device: torch.device,
    checkpoint: Mapping[str, Any] | None,
) -> PretrainingRun:
    """Return a run around an encoder, in its initial state or in that of a checkpoint.

    Raises:
        UserError: the settings do not fit each other, or do not fit the images.
    """
    if checkpoint is None:
        _load_weights(config, encoder)
    learner = make_learner(config, encoder)
    move_to_device(learner, config, device)
    views = make_views(config.augment, config.data.view_size)
    batches = _make_batches(config, images, device)
    lengths = _lengths(config, batches)
    first_step = 0 if checkpoint is None else int(checkpoint["step"])
    last_step = max(lengths["steps"], lengths["steps_per_epoch"])
    run = PretrainingRun(
        network=learner,
        optimizer=optimizer_of(config.optimizer, learner),
        batches=batches.iterate(first_step * config.accumulate, last_step * config.accumulate),
        make_views=partial(views, rank=rank(), world_size=world_size()),
        monitor=_make_monitor(config, learner),
        learning_rate=learning_rate_of(
            config.optimizer,
            config.batch_size * config.accumulate,
            lengths["schedule_steps"],
            round(config.optimizer.warmup_epochs * lengths["steps_per_epoch"]),
        ),
        autocast=partial(autocast, device, config.precision),
        seed=config.seed,
        first_step=first_step,
        accumulate=config.accumulate,
        compile=config.compile,
        log_every=config.monitor.log_every,
        **lengths,
    )
    if checkpoint is not None:
        run.load_state(checkpoint)
    return run


def _load_weights(config: PretrainSettings, encoder: nn.Module) -> None:
    """Load the weights of `pretrained_path`, if there is one, and print a report on rank zero."""
    if config.encoder.pretrained_path is not None:
        path = config.encoder.pretrained_path
        report = load_encoder_weights(encoder, path, other_norms="drop")
        if rank() == 0:
            say(str(report))


def _make_batches(config: PretrainSettings, images: ImageSet, device: torch.device) -> Batches:
    return Batches(
        images,
        batch_size=config.batch_size,
        seed=config.seed,
        device=device,
        resident=config.data.resident,
        workers=config.data.workers,
        rank=rank(),
        world_size=world_size(),
    )


def _lengths(config: PretrainSettings, batches: Batches) -> dict[str, int]:
    """Convert epochs to steps, for the fields of a run with these names."""
    steps_per_epoch = batches.steps_per_epoch // config.accumulate
    if steps_per_epoch == 0:
        raise UserError(
            f"accumulate={config.accumulate}: an epoch has only "
            f"{counted(batches.steps_per_epoch, 'batch', 'batches')}"
        )
    steps = config.epochs * steps_per_epoch if config.train else 0
    return {
        "steps": steps,
        "schedule_steps": (config.optimizer.schedule_epochs or config.epochs) * steps_per_epoch,
        "steps_per_epoch": steps_per_epoch,
        "save_every": config.checkpoint_every * steps_per_epoch,
        "frozen_from": steps - config.norm.freeze_last_epochs * steps_per_epoch,
    }


def _make_monitor(config: PretrainSettings, learner: Learner) -> CollapseMonitor:
    """Return the monitor of a run, with hooks on the layers of the online network."""
    settings, layers = config.monitor, None
    if settings.layers_every:
        heads = {part: getattr(learner, part, None) for part in ("projector", "predictor")}
        joint = config.norm.view_statistics == "joint"
        layers = LayerMonitor(
            layers_of(learner.encoder, **heads), settings.layers_every, joint=joint
        )
    return CollapseMonitor(
        settings.thresholds,
        settings.patience,
        spectral_every=settings.spectral_every,
        buffer_size=settings.buffer_size,
        loss_at_collapse=learner.loss_at_collapse(config.batch_size),
        layers=layers,
    )


def draw_views(config: PretrainSettings, images: ImageSet) -> Tensor:
    """Return pairs of views of the first images as one image (3, H, W), uint8."""
    views = make_views(config.augment, config.data.view_size)
    pixels = images.take(torch.arange(min(len(images), PICTURED_IMAGES))).permute(0, 3, 1, 2)
    view1, view2 = views(pixels, torch.Generator().manual_seed(config.seed))
    grid = views.grid(view1, view2)
    zoom = max(1, 64 // config.data.view_size)
    return grid.repeat_interleave(zoom, 1).repeat_interleave(zoom, 2)
