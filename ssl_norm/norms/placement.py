"""Replacing the norms inside any model."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ssl_norm.norms.norm_layers import convolutions_before_norms, named_norms, unknown_norms
from ssl_norm.norms.registry import NormSpec, parse_norm
from ssl_norm.norms.succession import check_options, is_already, set_options, successor
from ssl_norm.norms.weight_standardization import check_standardizable, standardize_weights


@dataclass(frozen=True)
class Replacement:
    """What :func:`replace_norms` did to a model.

    Attributes:
        norm: the norm that was asked for.
        replaced: names of the layers that were replaced.
        kept: names of the layers that were that norm already.
        kinds: how many layers of each class were found.
        standardized: names of the convolutions whose weights are now standardized.
        left: names of layers that are called a norm, but of a kind that is not known.
    """

    norm: NormSpec
    replaced: tuple[str, ...]
    kept: tuple[str, ...]
    kinds: Mapping[str, int]
    standardized: tuple[str, ...]
    left: tuple[str, ...]

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.kinds.items())
        text = f"{self.norm}: {len(self.replaced)} norm layers replaced, {len(self.kept)} kept"
        text += f" (of {kinds})" if kinds else ""
        if self.standardized:
            text += f"; {len(self.standardized)} convolutions standardized"
        if self.left:
            text += f"; {len(self.left)} of an unknown kind left alone ({self.left[0]}, ...)"
        return text


def replace_norms(model: nn.Module, spec: str | Mapping[str, Any] | NormSpec) -> Replacement:
    """Put a norm in place of every batch, group, layer and instance norm of a model, in place.

    Batch norms under `bn` and layer norms under `ln` stay and only take on the options of the spec,
    so that their values, eps and state_dict keys survive; `ln` therefore leaves a transformer's
    norms per token. Other layers get a new norm with their device, dtype and mode, their weight and
    bias, and from batch norm to batch norm their running statistics, eps and update rate as well.
    A layer that ends in an activation (timm's BatchNormAct2d) keeps it. Where channels are last, as
    in ViT, the new norm's space are all positions of a sample. `+ws` standardizes the weights of
    every convolution that a norm follows, as :func:`convolutions_before_norms` decides.

    Args:
        model: changed in place, unless an error is raised.
        spec: as for :func:`ssl_norm.norms.make_norm`; `none` removes norms.

    Raises:
        ValueError: there is nothing to replace or to standardize, or a layer cannot be replaced
            (groups do not divide its channels, ...), which is then named.
        TypeError: the norm has no such option.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64), nn.ReLU())
        >>> str(replace_norms(model, "gn+ws"))
        'gn+ws: 1 norm layers replaced, 0 kept (of 1 BatchNorm2d); 1 convolutions standardized'
    """
    parsed = parse_norm(spec)
    norms = named_norms(model)
    convolutions = convolutions_before_norms(model) if parsed.weight_standardization else []
    _check_model(model, parsed, norms, convolutions)
    successors = _successors(model, parsed, norms)
    report = Replacement(
        norm=parsed,
        replaced=tuple(name for name, layer in norms if layer in successors),
        kept=tuple(name for name, layer in norms if layer not in successors),
        kinds=dict(Counter(type(layer).__name__ for _, layer in norms)),
        standardized=tuple(name for name, _ in convolutions),
        left=tuple(unknown_norms(model)),
    )
    for name, layer in norms:
        if layer in successors:
            model.set_submodule(name, successors[layer])
        else:
            set_options(layer, parsed.options)
    for _, layer in convolutions:
        standardize_weights(layer)
    return report


def _check_model(
    model: nn.Module,
    spec: NormSpec,
    norms: list[tuple[str, nn.Module]],
    convolutions: list[tuple[str, nn.Module]],
) -> None:
    """Raise ValueError where the model leaves nothing to do, or what is asked cannot be done."""
    kind = type(model).__name__
    if any(layer is model for _, layer in norms):
        raise ValueError(f"the model is itself a norm layer, {kind}; make_norm builds another")
    if not norms and spec.name != "none":
        raise ValueError(f"{kind} has no norm layer for '{spec}' to replace; 'none' describes it")
    if spec.weight_standardization and not convolutions:
        raise ValueError(f"{kind} has no convolution before a norm, so '{spec}' changes no weights")
    for name, layer in convolutions:
        with _naming(name):
            check_standardizable(layer)


def _successors(
    model: nn.Module, spec: NormSpec, norms: list[tuple[str, nn.Module]]
) -> dict[nn.Module, nn.Module]:
    """Return the new layer for each old one that does not stay; one for a layer with two names."""
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(()))
    successors: dict[nn.Module, nn.Module] = {}
    for name, layer in norms:
        with _naming(name):
            if is_already(layer, spec):
                check_options(layer, spec.options)
            elif layer not in successors:
                successors[layer] = successor(layer, spec, like)
    return successors


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Prefix a ValueError with the layer that it is about."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"layer '{name}': {error}") from error
