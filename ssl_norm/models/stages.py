"""Stages of an encoder and layers of its heads."""

from collections.abc import Iterator
from math import ceil

from torch import nn

NEARLY_ALL = 0.85  # a child with a larger share of the parameters counts as the whole network
MOST_STAGES = 8  # of longer containers, such as a ViT's blocks, only some children are stages
THINNED_STAGES = 6


def layers_of(
    encoder: nn.Module, projector: nn.Module | None = None, predictor: nn.Module | None = None
) -> dict[str, nn.Module]:
    """Return the stages of an encoder and the layers of its heads by name, in the order of data.

    Stages are the children that have parameters: `encoder.conv1`, `encoder.layer1`, ... If a child
    has nearly all parameters, its children are the stages: `encoder.blocks.1`, ... Of long
    containers, every second or third child is a stage, and always the last. `encoder` is the whole
    encoder. Layers of heads are modules with parameters or statistics, and all norms:
    `projector.0`, `projector.1`, ...

    Example:
        >>> encoder = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
        >>> projector = nn.Sequential(
        ...     nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4)
        ... )
        >>> list(layers_of(encoder, projector))
        ['encoder.0', 'encoder.2', 'encoder', 'projector.0', 'projector.1', 'projector.3']
    """
    layers = dict(_stages(encoder, "encoder", _size(encoder)))
    layers["encoder"] = encoder
    for name, head in (("projector", projector), ("predictor", predictor)):
        if head is not None:
            layers.update(_head_layers(head, name))
    return layers


def _stages(module: nn.Module, path: str, whole: int) -> Iterator[tuple[str, nn.Module]]:
    """Yield the stages inside a module; the encoder has `whole` parameters."""
    children = [(name, child) for name, child in module.named_children() if _size(child)]
    if len(children) > MOST_STAGES:
        stride = ceil(len(children) / THINNED_STAGES)
        children = children[::-1][::stride][::-1]
    for name, child in children:
        is_list = isinstance(child, nn.ModuleList | nn.ModuleDict)  # lists have no forward
        is_network = _size(child) > NEARLY_ALL * whole and any(True for _ in child.children())
        if is_list or is_network:
            yield from _stages(child, f"{path}.{name}", whole)
        else:
            yield f"{path}.{name}", child


def _head_layers(module: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    """Yield the layers of a head with weights or statistics, and its norms."""
    owns = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    if owns or isinstance(module, nn.Linear) or "norm" in type(module).__name__.lower():
        yield path, module
        return
    for name, child in module.named_children():
        yield from _head_layers(child, f"{path}.{name}")


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
