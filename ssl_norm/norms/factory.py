"""Norm layers from their names."""

from typing import TYPE_CHECKING

from ssl_norm.norms.spec import NormLike, parse_norm

if TYPE_CHECKING:
    from torch import nn


def make_norm(spec: NormLike, num_features: int) -> "nn.Module":
    """Return a new norm layer for `num_features` channels.

    A `+ws` concerns the layer before the norm and changes nothing here: pass that layer through
    :func:`ssl_norm.norms.layers.weight_standardization.standardize_weights`.

    Args:
        spec: a name (`"gn"`, `"mypackage.norms:MyNorm"`), a mapping (`{"name": "gn", "groups": 16}`),
            a class or function that builds a layer from `num_features`, or a parsed norm.
        num_features: channels C; the layer takes (N, C) or (N, C, *spatial).

    Raises:
        ValueError: the name is unknown, an option is out of its range, or the norm cannot have that
            many channels.
        TypeError: the norm has no such option, or a function of the user builds no module.

    Example:
        >>> make_norm({"name": "gn", "groups": 4}, num_features=16).num_groups
        4
    """
    from torch import nn

    parsed = parse_norm(spec).checked()
    layer = parsed.cls(num_features, **parsed.options)
    if not isinstance(layer, nn.Module):
        raise TypeError(f"{parsed.name}(num_features) must return an nn.Module, got {layer!r}")
    return layer
