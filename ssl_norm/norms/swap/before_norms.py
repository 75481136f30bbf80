"""Finding the layers whose output a norm takes."""

from torch import nn
from torch.nn.modules.conv import _ConvNd

from ssl_norm.norms.swap.find import named_norms, num_features


def layers_before_norms(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return (name, layer) of every convolution and linear layer that a norm follows.

    A norm follows such a layer when, in the order in which the model registers its layers, it is
    the next one with weights of its own, and has as many channels as the layer puts out. Of linear
    layers only those count that the same module holds (MLP heads, LeViT): between the last layer of
    a transformer's block and the next norm lies a residual sum, in which scales do not cancel.
    """
    norms = dict(named_norms(model))
    found: list[tuple[str, nn.Module]] = []
    before: tuple[str, nn.Module] | None = None
    for name, module in model.named_modules():
        if name in norms:
            if before is not None and _precedes(*before, name, module):
                found.append(before)
            before = None
        elif module._parameters:
            before = (name, module)
    return found


def _precedes(name: str, layer: nn.Module, norm_name: str, norm: nn.Module) -> bool:
    """Whether a layer is of a kind, size and place that the norm may follow it."""
    if isinstance(layer, nn.Linear):
        beside = name.rpartition(".")[0] == norm_name.rpartition(".")[0]
        return beside and layer.out_features == num_features(norm)
    return isinstance(layer, _ConvNd) and layer.out_channels == num_features(norm)
