"""Loading the checkpoints of batch norm into norms that extend it."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

BATCH_NORM_KEYS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
MARK = "running_mean"  # a buffer in every checkpoint of a batch norm


def _prefixes(names: Iterable[str]) -> list[str]:
    return [name.removesuffix(MARK) for name in names if name.rpartition(".")[2] == MARK]


def not_in_batch_norm(wanted: Iterable[str], given: Iterable[str]) -> set[str]:
    """Return the names that a checkpoint lacks only because it comes from batch norm.

    These are the parameters of a layer beyond weight and bias, such as the calibration weights of
    representative batch norm, if the checkpoint has statistics for the layer and none of these.
    """
    wanted, given = list(wanted), set(given)
    own: dict[str, set[str]] = {prefix: set() for prefix in _prefixes(wanted)}
    for name in wanted:
        path, dot, last = name.rpartition(".")
        if not last.startswith("running_") and last not in BATCH_NORM_KEYS and path + dot in own:
            own[path + dot].add(name)
    found = (names for prefix, names in own.items() if prefix + MARK in given)
    return set().union(*(names for names in found if given.isdisjoint(names)))


def spread_over_domains(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> set[str]:
    """Return the names that a checkpoint holds once, and a domain norm once per domain."""
    layers = [prefix for prefix in _prefixes(wanted) if wanted[prefix + MARK].ndim == 2]
    names = {prefix + own for prefix in layers for own in BATCH_NORM_KEYS}
    return {
        name
        for name in names & wanted.keys() & given.keys()
        if given[name].shape == wanted[name].shape[1:]
    }


def fill_from_batch_norm(layer: nn.Module) -> None:
    """Let a layer load checkpoints of batch norm with `strict=True`.

    Parameters that batch norm lacks keep their values, and so does the count of batches, which very
    old checkpoints and torchvision's FrozenBatchNorm2d lack.
    """
    layer.register_load_state_dict_pre_hook(_keep_missing)  # type: ignore[no-untyped-call]


def _keep_missing(layer: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    own: Mapping[str, Tensor] = {
        prefix + name: value for name, value in (*layer.named_parameters(), *layer.named_buffers())
    }
    lacking = not_in_batch_norm(own, state)
    count = prefix + "num_batches_tracked"
    if prefix + MARK in state and count not in state:
        lacking.add(count)
    for name in lacking:
        state[name] = own[name].detach()
