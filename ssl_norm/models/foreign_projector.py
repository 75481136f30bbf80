"""Projectors in checkpoints of other libraries, rebuilt where they are plain MLPs."""

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

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

    name: str | None  # prefix of its keys; None where the file has no projector of a known name
    head: nn.Sequential | None  # with its weights; None where it is no plain MLP


def find_projector(weights: Weights, prefix: str, width: int) -> FoundHead:
    """Return the projector that belongs to the encoder at a prefix.

    It has one of `PROJECTOR_NAMES` in the parent of the encoder, or the place of the encoder's
    classifier (`fc`, MoCo v2).

    Args:
        weights: names and tensors of a whole file, or of one dict of it.
        prefix: of the encoder's names, for example `backbone.`.
        width: of the encoder's features.
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
    """Return an MLP from the names of its nn.Sequential, in evaluation mode; None if it is no MLP.

    A matrix is a Linear layer, running statistics are a batch norm, and a single number left out
    between two layers is a ReLU, because a file does not tell activations apart.

    Args:
        tensors: `0.weight`, `0.bias`, `1.running_mean`, ... or `weight` and `bias` of a layer.
        width: of the input.
    """
    if set(tensors) <= {"weight", "bias"}:
        tensors = {f"0.{name}": value for name, value in tensors.items()}
    parts: dict[int, dict[str, Tensor]] = defaultdict(dict)
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        if not number.isdecimal():
            return None
        parts[int(number)][name] = value
    mlp = nn.Sequential(*_layers(parts))
    state = {f"{n}.{name}": value for n, part in parts.items() for name, value in part.items()}
    return mlp.eval() if _fits(mlp, state, width) else None


def _layers(parts: dict[int, dict[str, Tensor]]) -> Iterator[nn.Module]:
    """Yield the layers by number; the identity for any part that is not of a plain MLP."""
    for number in range(max(parts) + 1):
        part = parts.get(number)
        if part is None:
            yield nn.ReLU() if number and number - 1 in parts else nn.Identity()
        elif "running_mean" in part:
            yield nn.BatchNorm1d(len(part["running_mean"]), affine="weight" in part)
        elif part.get("weight") is not None and part["weight"].ndim == 2:
            outputs, inputs = part["weight"].shape
            yield nn.Linear(inputs, outputs, bias="bias" in part)
        else:
            yield nn.Identity()


def _fits(mlp: nn.Sequential, state: Weights, width: int) -> bool:
    """Load the weights; return whether all are there and the widths of the layers fit."""
    for layer in mlp:
        if isinstance(layer, nn.Identity):
            return False
        inside = layer.in_features if isinstance(layer, nn.Linear) else width
        if inside != width or (isinstance(layer, nn.BatchNorm1d) and layer.num_features != width):
            return False
        width = layer.out_features if isinstance(layer, nn.Linear) else width
    try:
        found = mlp.load_state_dict(dict(state), strict=False)
    except RuntimeError:  # of another shape
        return False
    missing = [name for name in found.missing_keys if not name.endswith("num_batches_tracked")]
    return not (missing or found.unexpected_keys)


def _inside_container(tensors: Weights) -> Weights:
    """Return the tensors without a name that all begin with, such as `layers` or `net`."""
    first, *others = {name.partition(".")[0] for name in tensors}
    if others or first.isdecimal() or first in tensors:
        return tensors
    return {name.removeprefix(f"{first}."): value for name, value in tensors.items()}
