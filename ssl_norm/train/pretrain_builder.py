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
from ssl_norm.norms.batch.freezing import freezable_statistics
from ssl_norm.settings.pretrain import PretrainSettings
from ssl_norm.text import counted
from ssl_norm.train.builder import make_learner, make_views, naming, optimizer_of
from ssl_norm.train.device import autocast
from ssl_norm.train.optimizer import effective_learning_rate, learning_rate
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
    if config.encoder.pretrained_path is not None and checkpoint is None:
        path = config.encoder.pretrained_path
        report = load_encoder_weights(encoder, path, other_norms="drop")
        if rank() == 0:
            say(str(report))
    learner = _learner_on(device, config, encoder)
    views = make_views(config.augment, config.data.view_size)
    batches = Batches(
        images,
        batch_size=config.batch_size,
        seed=config.seed,
        device=device,
        resident=config.data.resident,
        workers=config.data.workers,
        rank=rank(),
        world_size=world_size(),
    )
    steps_per_epoch = batches.steps_per_epoch // config.accumulate
    if steps_per_epoch == 0:
        raise UserError(
            f"accumulate={config.accumulate}: an epoch has only "
            f"{counted(batches.steps_per_epoch, 'batch', 'batches')}"
        )
    steps = config.epochs * steps_per_epoch if config.train else 0
    schedule_steps = (config.optimizer.schedule_epochs or config.epochs) * steps_per_epoch
    first_step = 0 if checkpoint is None else int(checkpoint["step"])
    rate = effective_learning_rate(config.optimizer.lr, config.batch_size * config.accumulate)
    run = PretrainingRun(
        network=learner,
        optimizer=optimizer_of(config.optimizer, learner),
        batches=batches.iterate(
            first_step * config.accumulate, max(steps, steps_per_epoch) * config.accumulate
        ),
        make_views=partial(views, rank=rank(), world_size=world_size()),
        monitor=_make_monitor(config, learner),
        learning_rate=partial(
            learning_rate,
            peak=rate,
            steps=schedule_steps,
            warmup_steps=round(config.optimizer.warmup_epochs * steps_per_epoch),
            schedule=config.optimizer.schedule,
        ),
        autocast=partial(autocast, device, config.precision),
        seed=config.seed,
        first_step=first_step,
        steps=steps,
        schedule_steps=schedule_steps,
        steps_per_epoch=steps_per_epoch,
        accumulate=config.accumulate,
        compile=config.compile,
        log_every=config.monitor.log_every,
        save_every=config.checkpoint_every * steps_per_epoch,
        frozen_from=steps - config.norm.freeze_last_epochs * steps_per_epoch,
    )
    if checkpoint is not None:
        run.load_state(checkpoint)
    return run


def _learner_on(device: torch.device, config: PretrainSettings, encoder: nn.Module) -> Learner:
    memory_format = torch.channels_last if config.channels_last else torch.contiguous_format
    learner = make_learner(config, encoder).to(device).to(memory_format=memory_format)
    if config.norm.freeze_last_epochs:
        with naming("norm.freeze_last_epochs"):
            freezable_statistics(learner)
    return learner


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
