"""Axes of the outputs of layers, derived from the modules inside the layers."""

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from ssl_norm.norms.core import Norm
from ssl_norm.norms.swap.find import AroundNorm, ChannelsLast

# Axis of the channels in the outputs of modules, and the attribute that holds their number.
_KNOWN: tuple[tuple[Any, str, int], ...] = (
    (_ConvNd, "out_channels", 1),
    (_NormBase, "num_features", 1),
    (nn.GroupNorm, "num_channels", 1),
    (Norm, "num_features", 1),
    (nn.Linear, "out_features", -1),
    (nn.Embedding, "embedding_dim", -1),
    (nn.MultiheadAttention, "embed_dim", -1),
)


def layout_of(layer: nn.Module, shape: Sequence[int]) -> str | None:
    """Return the layout of a layer's output of some shape, as `NC` or `NCHW`; None if unclear.

    The last module in the layer that declares channels gives their number. The channels are the
    second or the last axis, whichever has this size. If both or neither has it, the kinds of all
    modules with channels decide: convolutions and batch norms have channels second, linear layers
    last.

    The layout has a letter for each axis: N samples, C channels, and others. It is None also for
    layers that keep samples second (`batch_first=False`).
    """
    if len(shape) == 2:
        return "NC"
    if any(getattr(part, "batch_first", True) is False for part in layer.modules()):
        return None
    found = _channels(layer)
    axes = {axis for axis in (1, -1) if found and shape[axis] == found[-1][0]}
    if len(axes) != 1:
        axes = {axis for _, axis in found if axis}
    if len(axes) != 1:
        return None
    others = "T" if len(shape) == 3 else "HWD"[: len(shape) - 2]
    return f"NC{others}" if axes == {1} else f"N{others}C"


def _channels(part: nn.Module) -> list[tuple[int, int]]:
    """Return number and axis of the channels of all modules that declare them; axis 0: unknown."""
    if isinstance(part, AroundNorm):
        axis = -1 if isinstance(part, ChannelsLast) else 1
        return [(number, axis) for number, _ in _channels(part.norm)]
    for kind, attribute, axis in _KNOWN:
        if isinstance(part, kind):
            return [(getattr(part, attribute), axis)]
    if shape := getattr(part, "normalized_shape", None):
        return [(shape[-1], -1 if type(part) in (nn.LayerNorm, nn.RMSNorm) else 0)]
    return [found for child in part.children() for found in _channels(child)]
