"""One norm layer in place of another: what it inherits."""

from collections import OrderedDict
from collections.abc import Mapping
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ssl_norm.norms.channels_last import ChannelsLast
from ssl_norm.norms.factory import make_norm
from ssl_norm.norms.norm_layers import BATCH_NORMS, num_features, takes_channels_last
from ssl_norm.norms.registry import NORMS, NormSpec


def is_already(layer: nn.Module, spec: NormSpec) -> bool:
    """Whether a layer is the norm that the spec names, so that it can stay and take on options."""
    if spec.name == "bn":
        plain = isinstance(layer, _BatchNorm) and not isinstance(layer, nn.SyncBatchNorm)
        return plain and spec.options.keys() <= {"eps", "update_rate", "affine"}
    return spec.name == "ln" and isinstance(layer, nn.LayerNorm)


def check_options(layer: nn.Module, options: Mapping[str, Any]) -> None:
    """Raise ValueError where a layer that stays cannot take on an option."""
    if options.get("affine") and layer.weight is None:
        raise ValueError(f"affine=True, but this {type(layer).__name__} has no weight and bias")


def set_options(layer: nn.Module, options: Mapping[str, Any]) -> None:
    """Give the options of a spec to a layer that stays."""
    for option, attribute in (("eps", "eps"), ("update_rate", "momentum")):
        if option in options:
            setattr(layer, attribute, options[option])
    if options.get("affine") is False:
        layer.register_parameter("weight", None)
        layer.register_parameter("bias", None)


def successor(layer: nn.Module, spec: NormSpec, like: Tensor) -> nn.Module:
    """Return a new norm with a layer's channels, mode, values, axis order and activation.

    Args:
        layer: the norm layer to succeed.
        spec: the norm to build.
        like: gives device and dtype where the layer holds no tensor.
    """
    options = {**_inherited_options(layer, spec), **spec.options}
    norm = make_norm(NormSpec(spec.name, options), num_features(layer))
    like = next((t for t in layer.state_dict().values() if t.is_floating_point()), like)
    norm.to(device=like.device, dtype=like.dtype).train(layer.training)
    _carry_over(layer, norm)
    if spec.name != "none" and takes_channels_last(layer):
        norm = ChannelsLast(norm)
    return _with_activation(norm, layer)


def _inherited_options(layer: nn.Module, spec: NormSpec) -> dict[str, Any]:
    """Return eps and update rate, which go from batch norm to batch norm."""
    if not (isinstance(layer, BATCH_NORMS) and spec.batch_statistics):
        return {}
    rate = layer.momentum if isinstance(layer, _BatchNorm) else layer.update_rate
    options = {"eps": layer.eps, "update_rate": rate}
    known = NORMS[spec.name].options
    return {name: value for name, value in options.items() if name in known and value is not None}


def _carry_over(layer: nn.Module, norm: nn.Module) -> None:
    """Copy weight and bias and, between batch norms, everything else that has a place."""
    batch_norms = isinstance(layer, BATCH_NORMS) and isinstance(norm, BATCH_NORMS)
    old, new = layer.state_dict(keep_vars=True), norm.state_dict(keep_vars=True)
    names = new.keys() if batch_norms else ("weight", "bias")
    with torch.no_grad():
        for name in names:
            if name in old and name in new and old[name].shape == new[name].shape:
                new[name].copy_(old[name])
                new[name].requires_grad_(old[name].requires_grad)


def _with_activation(norm: nn.Module, layer: nn.Module) -> nn.Module:
    """Return the norm followed by the dropout and activation that a layer ends in, if any."""
    parts = OrderedDict(norm=norm)
    for name in ("drop", "act"):
        part = getattr(layer, name, None)
        if isinstance(part, nn.Module) and not isinstance(part, nn.Identity):
            parts[name] = part
    if isinstance(norm, nn.Identity) and hasattr(parts.get("act"), "inplace"):
        # Without a norm before it, it would overwrite the input, which a shortcut may still need.
        parts["act"] = copy(parts["act"])
        setattr(parts["act"], "inplace", False)  # noqa: B010 - no attribute of Module
    return nn.Sequential(parts) if len(parts) > 1 else norm
