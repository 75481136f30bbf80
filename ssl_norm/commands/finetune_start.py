"""What a fine-tuning begins with: a checkpoint's encoder, or a random one, and the settings that follow from it."""

from typing import Any

from torch import nn

from ssl_norm.commands.checkpoint_inputs import (
    FOREIGN_MATCH,
    find_checkpoint,
    saved_config,
    untrained_encoder,
)
from ssl_norm.config import (
    DataConfig,
    DataOverride,
    EncoderConfig,
    EncoderOverride,
    FinetuneConfig,
    NormOverride,
    PixelOverride,
    SubjectConfig,
)
from ssl_norm.console import say
from ssl_norm.evaluate.subject import Subject, find_subject
from ssl_norm.models.encoders import SMALL_IMAGE_SIDE
from ssl_norm.models.load import load_encoder_weights, read_checkpoint
from ssl_norm.norms import NormSpec, parse_norm
from ssl_norm.options import replace
from ssl_norm.train.builder import make_encoder

REPLACED_MATCH = 0.5  # of an encoder whose norms are others than the checkpoint's


def find_start(config: FinetuneConfig) -> tuple[FinetuneConfig, nn.Module]:
    """Return the configuration with nothing left to the checkpoint, and the encoder that training begins with.

    Raises:
        UserError: the checkpoint cannot be read, does not fit, or does not say which encoder it holds.
    """
    if config.checkpoint is None:
        return from_scratch(config)
    path = find_checkpoint(config.checkpoint)
    saved = saved_config(read_checkpoint(path), path)
    subject = find_subject(subject_of(config), saved)
    encoder = untrained_encoder(subject)
    is_replaced = saved is not None and subject.norm != parse_norm(saved["norm"]["encoder"])
    least = REPLACED_MATCH if is_replaced else FOREIGN_MATCH if saved is None else 1.0
    say(f"{path}: {load_encoder_weights(encoder, path, min_match=least)}")
    return settled(config, subject), encoder


def from_scratch(config: FinetuneConfig) -> tuple[FinetuneConfig, nn.Module]:
    """Return what :func:`find_start` does, without a checkpoint."""
    name, norm = config.encoder.name or EncoderConfig().name, config.norm.encoder or NormSpec("bn")
    encoder = EncoderConfig(name=name, small_images=config.encoder.small_images)
    network, _ = make_encoder(encoder, norm, config.data.view_size, config.seed)
    mean, std = config.augment.normalization
    return replace(
        config,
        encoder=EncoderOverride(name=name, small_images=config.encoder.small_images),
        norm=replace(config.norm, encoder=norm),
        augment=replace(config.augment, mean=mean, std=std),
    ), network


def subject_of(config: FinetuneConfig) -> SubjectConfig:
    """Return what the user said of the encoder and its images, as the tools that look at a checkpoint take it."""
    data = config.data
    return SubjectConfig(
        checkpoint=str(config.checkpoint),
        data=DataOverride(
            name=data.name,
            root=data.root,
            image_size=data.image_size,
            cache_size=data.cache_size,
        ),
        encoder=config.encoder,
        norm=NormOverride(encoder=config.norm.encoder),
        augment=PixelOverride(mean=config.augment.mean, std=config.augment.std),
        seed=config.seed,
    )


def settled(config: FinetuneConfig, subject: Subject) -> FinetuneConfig:
    """Return the configuration with the checkpoint's word where the user said nothing.

    Where the size of the images lies on the other side of the one up to which a stem is made for small images, it
    says which stem the weights are of.
    """
    size, stem = subject.data.view_size, subject.encoder.small_images
    if stem is None and (size <= SMALL_IMAGE_SIDE) != (subject.trained_size <= SMALL_IMAGE_SIDE):
        stem = subject.trained_size <= SMALL_IMAGE_SIDE
    pixels: dict[str, Any] = {"mean": subject.mean, "std": subject.std}
    data: DataConfig = replace(config.data, image_size=size, cache_size=subject.data.cache_size)
    return replace(
        config,
        data=data,
        encoder=EncoderOverride(name=subject.encoder.name, small_images=stem),
        norm=replace(config.norm, encoder=subject.norm),
        augment=replace(config.augment, **pixels),
    )
