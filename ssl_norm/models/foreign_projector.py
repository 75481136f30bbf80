"""Projectors in checkpoints of other libraries, which are rebuilt if they are plain MLPs."""

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ssl_norm.models.checkpoint_prefixes import Weights

PROJECTOR_NAMES = (
    "projector",  # this package, solo-learn, byol-pytorch, VICReg, Barlow Twins
    "projection_head",  # lightly
    "projection_model",  # imbue
    "projection",  # lightning-bolts
    "projection_mlp",
)


class FoundHead(NamedTuple):
    """A projector in a file."""

    name: str | None  # prefix of its keys; None if the file has no projector with a known name
    head: nn.Sequential | None  # the projector with its weights; None if it is not a plain MLP


def find_projector(weights: Weights, prefix: str, width: int) -> FoundHead:
    """Return the projector of the encoder at a prefix, whose features have the given width.

    Its name is one of `PROJECTOR_NAMES`, next to the encoder, or `fc` in place of the encoder's
    classifier (MoCo v2).
    """
    parent = "".join(f"{part}." for part in prefix.split(".")[:-2])
    places = [f"{parent}{name}." for name in PROJECTOR_NAMES] + [f"{prefix}fc."]
    for place in dict.fromkeys(places):
        tensors = {k.removeprefix(place): v for k, v in weights.items() if k.startswith(place)}
        matrices = sum(value.ndim == 2 for value in tensors.values())
        if not tensors or (place.endswith("fc.") and matrices < 2):  # one matrix: a classifier
            continue
        return FoundHead(place.removesuffix("."), plain_mlp(_inside_container(tensors), width))
    return FoundHead(None, None)


def plain_mlp(tensors: Weights, width: int) -> nn.Sequential | None:
    """Return an MLP in evaluation mode from the tensors of an nn.Sequential; None if it is none.

    Names are `0.weight`, `1.running_mean`, ... or `weight` and `bias` of one layer. A matrix is a
    Linear layer, and running statistics are a batch norm. A single missing number between two
    layers stands for a ReLU, because files do not name activations.
    """
    if set(tensors) <= {"weight", "bias"}:
        tensors = {f"0.{name}": value for name, value in tensors.items()}
    parts: dict[int, dict[str, Tensor]] = defaultdict(dict)
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        if not number.isdecimal():
            return None
        parts[int(number)][name] = value
    layers = [_layer(parts, number) for number in range(max(parts) + 1)]
    if any(isinstance(layer, nn.Identity) for layer in layers):
        return None
    mlp = nn.Sequential(*layers).eval()
    state = {f"{n}.{name}": value for n, part in parts.items() for name, value in part.items()}
    try:
        found = mlp.load_state_dict(state, strict=False)
        mlp(torch.zeros(2, width))
    except RuntimeError:  # the widths of layers do not match
        return None
    missing = [name for name in found.missing_keys if not name.endswith("num_batches_tracked")]
    return None if missing or found.unexpected_keys else mlp


def _layer(parts: Mapping[int, Mapping[str, Tensor]], number: int) -> nn.Module:
    """Return the layer of a number; the identity if it is not a layer of a plain MLP."""
    part = parts.get(number)
    if part is None:
        return nn.ReLU() if number and number - 1 in parts else nn.Identity()
    if "running_mean" in part:
        return nn.BatchNorm1d(len(part["running_mean"]), affine="weight" in part)
    if part.get("weight") is not None and part["weight"].ndim == 2:
        outputs, inputs = part["weight"].shape
        return nn.Linear(inputs, outputs, bias="bias" in part)
    return nn.Identity()


def _inside_container(tensors: Weights) -> Weights:
    """Return the tensors without the first part of their names if all share it, such as `net`."""
    first, *others = {name.partition(".")[0] for name in tensors}
    if others or first.isdecimal() or first in tensors:
        return tensors
    return {name.removeprefix(f"{first}."): value for name, value in tensors.items()}
