"""Finding the norm layers of any model, and the convolutions before them."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.conv import _ConvNd

from ssl_norm.norms.batch_statistics import BatchStatisticsNorm
from ssl_norm.norms.core import RuleNorm
from ssl_norm.norms.whitening import WhiteningNorm

BATCH_NORMS = (_BatchNorm, BatchStatisticsNorm, WhiteningNorm)
NORM_LAYERS = (_NormBase, nn.GroupNorm, nn.LayerNorm, RuleNorm, WhiteningNorm)


def named_norms(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return (name, layer) of every batch, group, layer and instance norm, subclasses included.

    A layer that the model holds under two names appears twice.
    """
    modules = model.named_modules(remove_duplicate=False)
    return [(name, module) for name, module in modules if isinstance(module, NORM_LAYERS)]


def unknown_norms(model: nn.Module) -> list[str]:
    """Return the names of layers that are called a norm and hold weights, but of no known kind."""
    return [
        name
        for name, module in model.named_modules()
        if "norm" in type(module).__name__.lower()
        and not isinstance(module, NORM_LAYERS)
        and (module._parameters or module._buffers)
    ]


def num_features(layer: nn.Module) -> int:
    """Return the channels of a norm layer.

    Raises:
        ValueError: a layer norm over more than one axis.
    """
    if isinstance(layer, nn.GroupNorm):
        return layer.num_channels
    if not isinstance(layer, nn.LayerNorm):
        return int(layer.num_features)  # type: ignore[arg-type]
    if len(layer.normalized_shape) != 1:
        shape = tuple(layer.normalized_shape)
        raise ValueError(f"a LayerNorm over {shape} does not normalize over channels alone")
    return layer.normalized_shape[0]


def takes_channels_last(layer: nn.Module) -> bool:
    """Whether a norm layer wants its channels in the last axis, found by trial for layer norms.

    torch's LayerNorm does; the subclasses of many vision models (LayerNorm2d) do not.
    """
    if not isinstance(layer, nn.LayerNorm):
        return False
    channels = num_features(layer)
    side = 3 if channels == 2 else 2
    like = torch.empty(()) if layer.weight is None else layer.weight
    try:
        with torch.no_grad():
            layer.forward(like.new_zeros(1, channels, side, side))
    except RuntimeError:
        return True
    return False


def convolutions_before_norms(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return (name, layer) of every convolution that a norm follows.

    A norm follows a convolution when, in the order in which the model registers its layers, it is
    the next layer with weights of its own and has as many channels as the convolution puts out.
    """
    found: list[tuple[str, nn.Module]] = []
    before: tuple[str, _ConvNd] | None = None
    for name, module in model.named_modules():
        if isinstance(module, NORM_LAYERS):
            if before is not None and before[1].out_channels == num_features(module):
                found.append(before)
            before = None
        elif module._parameters:
            before = (name, module) if isinstance(module, _ConvNd) else None
    return found
