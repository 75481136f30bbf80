"""From a configuration to the parts of a run; below this room nothing knows of configurations."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from ssl_norm.config import DataConfig, HeadConfig, OptimizerBase, PretrainConfig
from ssl_norm.data.augment import TwoViews
from ssl_norm.data.batches.image_batches import Batches
from ssl_norm.data.dataset import ImageSet, Splits
from ssl_norm.data.load import load_splits
from ssl_norm.distributed import rank, world_size
from ssl_norm.errors import UserError
from ssl_norm.learners import METHODS
from ssl_norm.learners.learner import Learner, needs_embedding_dim
from ssl_norm.models.encoders import build_encoder
from ssl_norm.models.heads import mlp_head
from ssl_norm.models.load import load_encoder_weights
from ssl_norm.monitors import CollapseMonitor
from ssl_norm.monitors.layers import LayerMonitor, layers_of
from ssl_norm.norms.batch.freezing import freezable_statistics
from ssl_norm.norms.swap.replace import Replacement, replace_norms
from ssl_norm.train.device import autocast
from ssl_norm.train.loop import Training
from ssl_norm.train.optimizer import make_optimizer
from ssl_norm.train.schedule import effective_learning_rate, learning_rate

PICTURED_IMAGES = 32


def load_images(data: DataConfig, seed: int) -> Splits:
    """Return the images that a configuration names; where they are kept is up to `Batches`."""
    settings = data.model_dump() | {"image_size": data.view_size}
    settings.pop("resident")
    return load_splits(seed=seed, progress=rank() == 0, **settings)


def make_encoder(
    name: str, small_images: bool | None, norm: Any, view_size: int, seed: int
) -> tuple[nn.Module, Replacement | None]:
    """Return the encoder at the random initialisation of the seed, and what became of its norms.

    Args:
        name: of the encoder.
        small_images: whether it has the stem for small images; None: chosen by the size of a view.
        norm: of the encoder; None: the architecture's own are left alone.
        view_size: side in pixels of the images that it is trained on.
        seed: of the initialisation.

    Raises:
        UserError: the norm does not fit the encoder, or the size of its feature maps.
    """
    torch.manual_seed(seed)
    network = build_encoder(name, small_images=small_images, image_size=view_size)
    if norm is None:
        return network, None
    with naming("norm.encoder"):
        replaced = replace_norms(network, norm)
        _try_out(network, view_size)
    return network, replaced


@torch.no_grad()
def _try_out(network: nn.Module, view_size: int) -> None:
    """Let a norm say now where its input has too few positions; in evaluation mode nothing moves."""
    training = network.training
    network.eval()(torch.zeros(2, 3, view_size, view_size))
    network.train(training)


def initial_encoder(config: PretrainConfig) -> tuple[nn.Module, Replacement | None]:
    """Return the encoder that a run begins with, before `pretrained_path`."""
    encoder, size = config.encoder, config.data.view_size
    return make_encoder(encoder.name, encoder.small_images, config.norm.encoder, size, config.seed)


def make_learner(config: PretrainConfig, encoder: nn.Module) -> Learner:
    """Return the learner that `config.method` names around an encoder.

    Its constructor gets the encoder, a head for each field of the method that describes one, and all other fields
    by name.
    """
    method = config.method
    width: int = encoder.num_features  # type: ignore[assignment]
    heads: list[nn.Module] = []
    options: dict[str, Any] = {"view_statistics": config.norm.view_statistics}
    for name, value in method:
        if isinstance(value, HeadConfig):
            with naming(f"method.{name}, norm.{name}"):
                heads.append(make_head(width, value, getattr(config.norm, name, "none")))
            width = value.output_dim
        elif name != "name":
            options[name] = value
    learner_class = METHODS.load(method.name)
    if needs_embedding_dim(learner_class):
        options["embedding_dim"] = width
    with naming("method"):
        learner: Learner = learner_class(encoder, *heads, **options)
    return learner


@contextmanager
def naming(key: str) -> Iterator[None]:
    """Turn what a constructor says of its arguments into the user's error, with the key it came from.

    What is the user's error already passes as it is.
    """
    try:
        yield
    except UserError:
        raise
    except (ValueError, TypeError) as error:
        raise UserError(f"{key}: {error}") from error


def make_head(in_features: int, head: HeadConfig, norm: Any) -> nn.Module:
    """Return the MLP that a head's configuration describes."""
    return mlp_head(
        in_features,
        hidden_dim=head.hidden_dim,
        output_dim=head.output_dim,
        layers=head.layers,
        norm=norm,
        norm_output=head.norm_output,
    )


def make_views(config: PretrainConfig) -> TwoViews:
    """Return the augmentation that `config.augment` describes."""
    augment = config.augment
    return TwoViews(
        augment.view1,
        augment.view2,
        config.data.view_size,
        augment.mean,
        augment.std,
        exact_colour=augment.exact_colour,
    )


def draw_views(config: PretrainConfig, images: ImageSet) -> Tensor:
    """Return pairs of views of the first images as one picture (3, H, W), uint8: what the learner sees."""
    views = make_views(config)
    pixels = images.take(torch.arange(min(len(images), PICTURED_IMAGES))).permute(0, 3, 1, 2)
    grid = views.grid(*views(pixels, torch.Generator().manual_seed(config.seed)))
    zoom = max(1, 64 // config.data.view_size)
    return grid.repeat_interleave(zoom, 1).repeat_interleave(zoom, 2)


def make_training(
    config: PretrainConfig,
    encoder: nn.Module,
    images: ImageSet,
    device: torch.device,
    checkpoint: Mapping[str, Any] | None,
) -> Training:
    """Return a run around an encoder, at its beginning or where a checkpoint left it."""
    if config.encoder.pretrained_path is not None and checkpoint is None:
        report = load_encoder_weights(encoder, config.encoder.pretrained_path)
        if rank() == 0:
            Console(stderr=True).print(str(report), highlight=False, soft_wrap=True, markup=False)
    memory_format = torch.channels_last if config.channels_last else torch.contiguous_format
    learner = make_learner(config, encoder).to(device).to(memory_format=memory_format)
    if config.norm.freeze_last_epochs:
        with naming("norm.freeze_last_epochs"):
            freezable_statistics(learner)
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
            f"accumulate={config.accumulate}: an epoch has {batches.steps_per_epoch} batches only"
        )
    steps = config.epochs * steps_per_epoch if config.train else 0
    schedule_steps = (config.optimizer.schedule_epochs or config.epochs) * steps_per_epoch
    optimizer = optimizer_of(config.optimizer, learner)
    monitor = make_monitor(config, learner)
    first_step = 0
    if checkpoint is not None:
        first_step = int(checkpoint["step"])
        learner.load_state_dict(checkpoint["learner"])
        optimizer.load_state_dict(checkpoint["optimizer"])
        monitor.load_state_dict(checkpoint["monitor"])
    return Training(
        learner=learner,
        optimizer=optimizer,
        batches=batches.iterate(
            first_step * config.accumulate, max(steps, steps_per_epoch) * config.accumulate
        ),
        make_views=partial(make_views(config), rank=rank(), world_size=world_size()),
        monitor=monitor,
        learning_rate=rate_schedule(config, schedule_steps, steps_per_epoch),
        autocast=partial(autocast, device, config.precision),
        seed=config.seed,
        first_step=first_step,
        steps=steps,
        schedule_steps=schedule_steps,
        steps_per_epoch=steps_per_epoch,
        accumulate=config.accumulate,
        log_every=config.monitor.log_every,
        save_every=config.checkpoint_every * steps_per_epoch,
        frozen_from=steps - config.norm.freeze_last_epochs * steps_per_epoch,
    )


def make_monitor(config: PretrainConfig, learner: Learner) -> CollapseMonitor:
    """Return the monitor that a configuration describes, with hooks on the layers of a learner's online network."""
    every = config.monitor.layers_every
    heads = {part: getattr(learner, part, None) for part in ("projector", "predictor")}
    joint = config.norm.view_statistics == "joint"
    return CollapseMonitor(
        config.monitor.thresholds,
        config.monitor.patience,
        spectral_every=config.monitor.spectral_every,
        buffer_size=config.monitor.buffer_size,
        loss_at_collapse=learner.loss_at_collapse(config.batch_size),
        layers=LayerMonitor(layers_of(learner.encoder, **heads), every, joint=joint)
        if every
        else None,
    )


def rate_schedule(
    config: PretrainConfig, steps: int, steps_per_epoch: int
) -> Callable[[int], float]:
    """Return the learning rate as a function of the step."""
    optimizer = config.optimizer
    return partial(
        learning_rate,
        peak=effective_learning_rate(optimizer.lr, config.batch_size * config.accumulate),
        steps=steps,
        warmup_steps=round(optimizer.warmup_epochs * steps_per_epoch),
        schedule=optimizer.schedule,
    )


def optimizer_of(optimizer: OptimizerBase, learner: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer that a configuration describes; the loop sets its rate before every step."""
    return make_optimizer(
        learner,
        optimizer.name,
        lr=0.0,
        momentum=optimizer.momentum,
        weight_decay=optimizer.weight_decay,
        betas=optimizer.betas,
        lars_eta=optimizer.lars_eta,
        exclude_norm_and_bias=optimizer.exclude_norm_and_bias,
    )
