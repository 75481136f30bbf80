"""From the name of a norm to a layer."""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ssl_norm.norms.registry import NORMS, NormSpec, parse_norm

if TYPE_CHECKING:
    from torch import nn


def make_norm(spec: str | Mapping[str, Any] | NormSpec, num_features: int) -> "nn.Module":
    """Return a new norm layer for `num_features` channels.

    A `+ws` in the spec concerns the layer before the norm and changes nothing here: pass that layer
    through :func:`ssl_norm.norms.weight_standardization.standardize_weights`.

    Args:
        spec: a name (`"gn+ws"`), a mapping (`{"name": "gn", "groups": 16}`) or a parsed spec.
        num_features: channels C; the layer takes (N, C) or (N, C, *spatial).

    Raises:
        ValueError: the name is unknown, or the norm cannot have that many channels.
        TypeError: the norm has no such option.

    Example:
        >>> make_norm({"name": "gn", "groups": 4}, num_features=16).num_groups
        4
    """
    parsed = parse_norm(spec)
    entry = NORMS[parsed.name]
    module_name, _, constructor_name = entry.target.partition(":")
    constructor = getattr(import_module(module_name), constructor_name)
    layer: nn.Module = constructor(num_features, **{**entry.preset, **parsed.options})
    return layer
