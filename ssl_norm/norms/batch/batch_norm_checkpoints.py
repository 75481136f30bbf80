"""Checkpoints of batch norm in the norms that extend it."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

BATCH_NORM_KEYS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
MARK = "running_mean"  # what every checkpoint of a batch norm has


def beyond_batch_norm(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the parameters of each batch norm in a state_dict beyond weight and bias, by prefix.

    Example:
        >>> beyond_batch_norm(["conv.weight", "bn.weight", "bn.running_mean", "bn.scale_bias"])
        {'bn.': ('bn.scale_bias',)}
    """
    names = list(names)
    own: dict[str, list[str]] = {
        name.removesuffix(MARK): [] for name in names if name.rpartition(".")[2] == MARK
    }
    for name in names:
        path, dot, last = name.rpartition(".")
        statistics = last.startswith("running_")
        if not statistics and last not in BATCH_NORM_KEYS and path + dot in own:
            own[path + dot].append(name)
    return {prefix: tuple(own_names) for prefix, own_names in own.items()}


def not_in_batch_norm(wanted: Iterable[str], given: Iterable[str]) -> set[str]:
    """Return the wanted names that a checkpoint lacks only because it is batch norm's.

    These are all parameters of a layer beyond batch norm's own, such as the calibration weights of
    representative batch norm, where the checkpoint has batch norm's statistics for the layer and
    none of them. One that has some is not batch norm's, and lacks the others.
    """
    given = set(given)
    return {
        name
        for prefix, names in beyond_batch_norm(wanted).items()
        if prefix + MARK in given and given.isdisjoint(names)
        for name in names
    }


def spread_over_domains(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> set[str]:
    """Return the names of what a checkpoint has once and domain norms have a row of for each domain."""
    names = {
        prefix + own
        for prefix in beyond_batch_norm(wanted)
        for own in BATCH_NORM_KEYS
        if wanted[prefix + MARK].ndim == 2
    }
    return {
        name
        for name in names & wanted.keys() & given.keys()
        if given[name].shape == wanted[name].shape[1:]
    }


def keep_what_batch_norm_has_not(
    layer: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any
) -> None:
    """Supply a layer's present values for what a checkpoint of batch norm lacks: a hook of loading.

    So such a checkpoint loads with `strict=True`. A count of batches that is not there, as in very
    old checkpoints and in torchvision's FrozenBatchNorm2d, is supplied, too.
    """
    own: Mapping[str, Tensor] = {
        prefix + name: value for name, value in (*layer.named_parameters(), *layer.named_buffers())
    }
    lacking = not_in_batch_norm(own, state)
    count = prefix + "num_batches_tracked"
    if prefix + MARK in state and count not in state:
        lacking.add(count)
    for name in lacking:
        state[name] = own[name].detach()
