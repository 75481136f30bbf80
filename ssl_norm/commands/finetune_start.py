"""Initial encoder of a fine-tuning, and the settings that follow from it."""

from typing import Any

from torch import nn

from ssl_norm.evaluate.checkpoint import Checkpoint
from ssl_norm.models.encoders import SMALL_IMAGE_SIDE
from ssl_norm.norms import NormSpec
from ssl_norm.options import replace
from ssl_norm.settings.finetune import FinetuneSettings
from ssl_norm.settings.sections import EncoderOverride, EncoderSettings
from ssl_norm.train.builder import make_encoder


def find_start(config: FinetuneSettings) -> tuple[FinetuneSettings, nn.Module]:
    """Return the settings, completed by those of the checkpoint, and the initial encoder.

    Raises:
        UserError: the checkpoint cannot be read, does not fit, or does not name its encoder.
    """
    if config.checkpoint is None:
        return _from_scratch(config)
    names = ("name", "root", "image_size", "cache_size")
    data = {name: getattr(config.data, name) for name in names}
    checkpoint = Checkpoint.read(config.checkpoint, {**config.model_dump(), "data": data})
    encoder, _ = checkpoint.encoder(new_norms=True)
    return _settled(config, checkpoint), encoder


def _from_scratch(config: FinetuneSettings) -> tuple[FinetuneSettings, nn.Module]:
    """Return the completed settings, and an encoder at its random initialization."""
    name, norm = (
        config.encoder.name or EncoderSettings().name,
        config.norm.encoder or NormSpec("bn"),
    )
    stem = config.encoder.small_images
    network, _ = make_encoder(name, stem, norm, config.data.view_size, config.seed)
    mean, std = config.augment.normalization
    return replace(
        config,
        encoder=EncoderOverride(name=name, small_images=stem),
        norm=replace(config.norm, encoder=norm),
        augment=replace(config.augment, mean=mean, std=std),
    ), network


def _settled(config: FinetuneSettings, checkpoint: Checkpoint) -> FinetuneSettings:
    """Fill settings that the user left null from the checkpoint.

    The stem is that of the checkpoint, even if the size of the images suggests the other one.
    """
    size, stem = checkpoint.view_size, checkpoint.stem
    trained_small = checkpoint.trained_size <= SMALL_IMAGE_SIDE
    if stem is None and (size <= SMALL_IMAGE_SIDE) != trained_small:
        stem = trained_small
    pixels: dict[str, Any] = {"mean": checkpoint.mean, "std": checkpoint.std}
    cache_size = checkpoint.data.get("cache_size")
    data = replace(config.data, image_size=size, cache_size=cache_size)
    return replace(
        config,
        data=data,
        encoder=EncoderOverride(name=checkpoint.encoder_name, small_images=stem),
        norm=replace(config.norm, encoder=checkpoint.norm_spec),
        augment=replace(config.augment, **pixels),
    )
