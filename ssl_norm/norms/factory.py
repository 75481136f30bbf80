"""From the name of a norm to a layer."""

from importlib import import_module
from typing import TYPE_CHECKING

from ssl_norm.norms.registry import NORMS, NormLike, parse_norm

if TYPE_CHECKING:
    from torch import nn


def make_norm(spec: NormLike, num_features: int) -> "nn.Module":
    """Return a new norm layer for `num_features` channels.

    A `+ws` in the spec concerns the layer before the norm and changes nothing here: pass that layer
    through :func:`ssl_norm.norms.layers.weight_standardization.standardize_weights`.

    Args:
        spec: a name (`"gn+ws"`), a mapping (`{"name": "gn", "groups": 16}`), a class or function that
            builds a layer of the user's own from `num_features`, or a parsed spec.
        num_features: channels C; the layer takes (N, C) or (N, C, *spatial).

    Raises:
        ValueError: the name is unknown, or the norm cannot have that many channels.
        TypeError: the norm has no such option, or a user's function builds no module.

    Example:
        >>> make_norm({"name": "gn", "groups": 4}, num_features=16).num_groups
        4
    """
    parsed = parse_norm(spec)
    if parsed.constructor is not None:
        return _own_norm(parsed.constructor(num_features), parsed.name)
    entry = NORMS[parsed.name]
    layer: nn.Module = norm_class(parsed.name)(num_features, **{**entry.preset, **parsed.options})
    return layer


def norm_class(name: str) -> "type[nn.Module]":
    """Return the class of a norm in the registry."""
    module_name, _, class_name = NORMS[name].target.partition(":")
    found: type[nn.Module] = getattr(import_module(module_name), class_name)
    return found


def _own_norm(layer: object, name: str) -> "nn.Module":
    from torch import nn

    if not isinstance(layer, nn.Module):
        raise TypeError(f"{name}(num_features) must return an nn.Module, got {layer!r}")
    return layer
