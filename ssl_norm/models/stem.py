"""Stem for small images: 3x3, stride 1 and no max-pool, in place of one for 224 px."""

from collections.abc import Iterator

import torch
from torch import nn

STEM_CONVOLUTIONS = 3  # a deep stem has three; a max-pool further down is no part of it


def has_strided_stem(model: nn.Module) -> bool:
    """Return whether the model begins with a strided convolution that does not cut patches."""
    _, convolution = _first_convolution(model)
    if convolution is None:
        return False
    is_patch_embedding = convolution.stride == convolution.kernel_size
    return max(convolution.stride) > 1 and not is_patch_embedding


def shrink_stem(model: nn.Module) -> None:
    """Make the first convolution at most 3x3, of stride 1, and remove the max-pool after it.

    Done in place. A convolution larger than 3x3 gets new weights (He et al.'s normal initialisation
    over the fan-out, as ResNets have); a 3x3 one keeps its weights. The max-pool, with the padding
    before it, is sought among the modules that follow, up to the third convolution; a ResNet's
    `maxpool` is removed whatever it consists of.

    Raises:
        ValueError: the model has no strided first convolution.

    Source: SimCLR, arXiv 2002.05709, appendix B.9.
    """
    name, convolution = _first_convolution(model)
    if convolution is None or not has_strided_stem(model):
        raise ValueError(f"{type(model).__name__} does not begin with a strided convolution")
    _shrink(convolution)
    for parent, child in _pooling_after(model, name):
        setattr(parent, child, nn.Identity())


def _first_convolution(model: nn.Module) -> tuple[str, nn.Conv2d | None]:
    named = ((name, m) for name, m in model.named_modules() if isinstance(m, nn.Conv2d))
    return next(named, ("", None))


@torch.no_grad()
def _shrink(convolution: nn.Conv2d) -> None:
    convolution.stride = (1, 1)
    if max(convolution.kernel_size) > 3:
        convolution.kernel_size = (3, 3)
        # Zero means that the layer pads in its own way ("same"), or not at all.
        convolution.padding = tuple(min(int(side), 1) for side in convolution.padding)
        shape = (*convolution.weight.shape[:2], 3, 3)
        convolution.weight = nn.Parameter(convolution.weight.new_empty(shape))
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")


def _pooling_after(model: nn.Module, name: str) -> list[tuple[nn.Module, str]]:
    """Return parent and name of the stem's max-pool and of the padding before it."""
    convolutions = 1
    padding: list[tuple[nn.Module, str]] = []
    for parent, child, module in _followers(model, name):
        if child.startswith("maxpool"):
            return [*padding, (parent, child)]
        convolutions += sum(isinstance(m, nn.Conv2d) for m in module.modules())
        if convolutions > STEM_CONVOLUTIONS:
            break
        if any(isinstance(m, nn.MaxPool2d) for m in module.modules()):
            return [*padding, (parent, child)]
        if isinstance(module, nn.ConstantPad2d):
            padding.append((parent, child))
    return []


def _followers(model: nn.Module, name: str) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """Yield the modules after a module: its later siblings, then its parent's, up to the model."""
    path = name.split(".")
    while path:
        child = path.pop()
        parent = model.get_submodule(".".join(path))
        children = list(parent.named_children())
        position = [sibling for sibling, _ in children].index(child)
        for sibling, module in children[position + 1 :]:
            yield parent, sibling, module
