"""Builders of the parts of a run from its settings."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from ssl_norm.data.augment.views import Views
from ssl_norm.data.dataset import Splits
from ssl_norm.data.load import load_splits
from ssl_norm.distributed import rank
from ssl_norm.errors import UserError
from ssl_norm.learners import METHODS
from ssl_norm.learners.learner import Learner, needs_embedding_dim
from ssl_norm.models.catalogue import library_of
from ssl_norm.models.encoders import build_encoder
from ssl_norm.models.heads import mlp_head
from ssl_norm.norms.batch.freezing import freezable_statistics
from ssl_norm.norms.swap.replace import Replacement, replace_norms
from ssl_norm.settings.method import HeadSettings, heads_of
from ssl_norm.settings.pretrain import AugmentSettings, PretrainSettings
from ssl_norm.settings.sections import DataSettings, OptimizerSettings
from ssl_norm.signature import options_of
from ssl_norm.train.optimizer import effective_learning_rate, learning_rate, make_optimizer

Colour = tuple[float, ...]
NO_SOURCE_OPTIONS = ("name", "image_size", "resident")


def load_images(data: DataSettings, seed: int) -> Splits:
    """Return the images of a data source."""
    options = data.model_dump(exclude={*NO_SOURCE_OPTIONS}) | {"image_size": data.view_size}
    return load_splits(data.name, seed=seed, progress=rank() == 0, **options)


def make_encoder(
    name: str, small_images: bool | None, norm: Any, view_size: int, seed: int
) -> tuple[nn.Module, Replacement | None]:
    """Return the encoder at the random initialisation of a seed, and a report on its norms.

    The stem is that for small images if `small_images` is true, or if it is None and views of
    `view_size` pixels are small. If `norm` is None, the architecture keeps its own norms.

    Raises:
        UserError: the norm does not fit the encoder, or the size of its feature maps.
    """
    torch.manual_seed(seed)
    network = build_encoder(name, small_images=small_images, image_size=view_size)
    if norm is None:
        return network, None
    with naming("norm.encoder"):
        example = torch.zeros(2, 3, view_size, view_size)
        replaced = replace_norms(network, norm, example=example)
    return network, replaced


def initial_encoder(config: PretrainSettings) -> tuple[nn.Module, Replacement | None]:
    """Return the encoder of a run at its initialisation, before `pretrained_path`."""
    encoder, size = config.encoder, config.data.view_size
    return make_encoder(encoder.name, encoder.small_images, config.norm.encoder, size, config.seed)


def encoder_record(config: Any, encoder: nn.Module) -> dict[str, Any]:
    """Return the settings that are needed to use a run's encoder as it was trained.

    Keys: `name`, `small_images` (whether the stem was shrunk), `norm`, `image_size` in pixels,
    `mean` and `std` of the pixels, and `library`, the version that built it.
    """
    norm = config.norm.encoder
    return {
        "name": config.encoder.name,
        "small_images": getattr(encoder, "small_images", config.encoder.small_images),
        "norm": norm and norm.setting,
        "image_size": config.data.view_size,
        "mean": config.augment.mean,
        "std": config.augment.std,
        "library": library_of(config.encoder.name),
    }


def make_learner(config: PretrainSettings, encoder: nn.Module) -> Learner:
    """Return the learner of `config.method` around an encoder.

    Its constructor gets the encoder, the heads among its parameters, and all other settings of the
    method by name.

    Raises:
        UserError: the settings of a head or of the method do not fit.
    """
    learner_class, settings = METHODS.load(config.method.name), dict(vars(config.method))
    del settings["name"]
    width: int = encoder.num_features  # type: ignore[assignment]
    heads: list[nn.Module] = []
    for name in heads_of(learner_class):
        head: HeadSettings = settings.pop(name)
        with naming(f"method.{name}, norm.{name}"):
            norm = getattr(config.norm, name, "none")
            heads.append(mlp_head(width, norm=norm, **vars(head)))
        width = head.output_dim
    if needs_embedding_dim(learner_class):
        settings["embedding_dim"] = width
    if "view_statistics" in options_of(learner_class):
        settings["view_statistics"] = config.norm.view_statistics
    with naming("method"):
        learner: Learner = METHODS.call(config.method.name, encoder, *heads, **settings)
    if not isinstance(getattr(learner, "encoder", None), nn.Module):
        raise UserError(
            f"method '{config.method.name}' has no attribute `encoder`; set self.encoder in "
            "__init__, and self.projector"
        )
    return learner


@contextmanager
def naming(key: str) -> Iterator[None]:
    """Turn a ValueError or TypeError into a UserError that starts with a key of the settings."""
    try:
        yield
    except UserError:
        raise
    except (ValueError, TypeError) as error:
        raise UserError(f"{key}: {error}") from error


def make_views(augment: Any, size: int, pixels: tuple[Colour, Colour] | None = None) -> Views:
    """Return the views of a section `augment`; `pixels` replace its mean and std.

    None: two views of the default settings.
    """
    augment = augment or AugmentSettings()
    views = {name: view for name, view in vars(augment).items() if name.startswith("view")}
    mean, std = pixels or (augment.mean, augment.std)
    return Views(views, size, mean, std, exact_colour=augment.exact_colour)


def move_to_device(network: nn.Module, config: Any, device: torch.device) -> None:
    """Move a network to the device of a run, in the memory format of its settings.

    Raises:
        UserError: its statistics shall freeze, but it has none.
    """
    memory_format = torch.channels_last if config.channels_last else torch.contiguous_format
    network.to(device).to(memory_format=memory_format)
    for key in ("freeze_last_epochs", "freeze_last"):
        if getattr(config.norm, key, 0):
            with naming(f"norm.{key}"):
                freezable_statistics(network)


def optimizer_of(optimizer: OptimizerSettings, learner: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer of the settings; the loop sets its rate before every step."""
    options = ("momentum", "weight_decay", "betas", "lars_eta", "exclude_norm_and_bias")
    values = {name: getattr(optimizer, name) for name in options}
    return make_optimizer(learner, optimizer.name, lr=0.0, **values)


def learning_rate_of(
    optimizer: OptimizerSettings, images_per_step: int, steps: int, warmup_steps: int
) -> Callable[[int], float]:
    """Return the learning rate as a function of the step, from 0."""
    return partial(
        learning_rate,
        peak=effective_learning_rate(optimizer.lr, images_per_step),
        steps=steps,
        warmup_steps=warmup_steps,
        schedule=optimizer.schedule,
    )
