"""From a configuration to the parts of a run; below this room nothing knows of configurations."""

from dataclasses import fields
from typing import Any

import torch
from torch import nn

from ssl_norm.config import HeadConfig, PretrainConfig
from ssl_norm.learners import METHODS
from ssl_norm.learners.learner import Learner
from ssl_norm.models.encoders import build_encoder
from ssl_norm.models.heads import mlp_head
from ssl_norm.norms.placement import Replacement, replace_norms


def make_encoder(config: PretrainConfig) -> tuple[nn.Module, Replacement]:
    """Return the encoder, drawn from the seed, and what became of its norms."""
    torch.manual_seed(config.seed)
    encoder = build_encoder(
        config.encoder.name,
        small_images=config.encoder.small_images,
        image_size=config.data.image_size,
        pretrained_path=config.encoder.pretrained_path,
    )
    return encoder, replace_norms(encoder, config.norm.encoder)


def make_learner(config: PretrainConfig, encoder: nn.Module) -> Learner:
    """Return the learner that `config.method` names around an encoder.

    Its constructor gets the encoder, a head for each field of the method that describes one, and all other fields
    by name.
    """
    method = config.method
    width = encoder.num_features
    heads: list[nn.Module] = []
    options: dict[str, Any] = {}
    for field in fields(method):
        value = getattr(method, field.name)
        if isinstance(value, HeadConfig):
            heads.append(make_head(width, value, getattr(config.norm, field.name)))
            width = value.output_dim
        elif field.name != "name":
            options[field.name] = value
    learner_class = METHODS[method.name].load()
    learner: Learner = learner_class(
        encoder, *heads, **options, view_statistics=config.norm.view_statistics
    )
    return learner


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
