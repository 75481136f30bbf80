"""Which norm of the registry a layer is already, and the options that it has."""

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from ssl_norm.norms.batch.batch_statistics import BatchStatisticsNorm
from ssl_norm.norms.batch.freezing import FrozenStatistics
from ssl_norm.norms.spec import NormSpec
from ssl_norm.norms.swap.around_norm import unwrapped

TORCH_KINDS: Mapping[str, type[nn.Module]] = {
    "bn": _BatchNorm,
    "in": _InstanceNorm,
    "ln": nn.LayerNorm,
    "gn": nn.GroupNorm,
    "rms": nn.RMSNorm,
}
USUAL_OPTIONS: Mapping[str, object] = {
    "eps": 1e-5,
    "update_rate": 0.1,
    "batch_size": None,
    "sync": False,
    "evaluation": "population",
    "population": "ema",
}  # of a batch norm
SETTABLE_ON_TORCHS = ("eps", "update_rate", "affine")
SETTABLE = (*USUAL_OPTIONS, "affine")


def options_of(layer: nn.Module) -> dict[str, Any]:
    """Return those of `USUAL_OPTIONS` that a norm layer has; torch's under our names.

    torch's BatchNorm without momentum has `update_rate` None and `population` cumulative.
    """
    norm = unwrapped(layer)
    options = {name: getattr(norm, name) for name in USUAL_OPTIONS if hasattr(norm, name)}
    if isinstance(norm, _BatchNorm):
        options["update_rate"] = norm.momentum
        options["population"] = "ema" if norm.momentum is not None else "cumulative"
        options["sync"] = isinstance(norm, nn.SyncBatchNorm)
        options["evaluation"] = "population" if norm.track_running_stats else "batch"
    return options


def is_already(layer: nn.Module, spec: NormSpec) -> bool:
    """Whether a layer is the norm that the spec names, so that it can stay and take on options."""
    norm = unwrapped(layer)
    if spec.constructor is not None or not _is_kind(norm, spec):
        return False
    if spec.options.get("affine") and norm.weight is None:
        return False
    if isinstance(norm, FrozenStatistics) and spec.options.get("evaluation") == "batch":
        return False
    settable = SETTABLE if isinstance(norm, BatchStatisticsNorm) else SETTABLE_ON_TORCHS
    return all(
        option in settable or _structure(norm, option) == value
        for option, value in spec.options.items()
    )


def _is_kind(norm: nn.Module, spec: NormSpec) -> bool:
    """Whether a layer is the norm that the spec names, in our class or torch's."""
    if isinstance(norm, nn.GroupNorm):
        return spec.name == ("ln" if norm.num_groups == 1 else "gn")
    if isinstance(norm, nn.SyncBatchNorm):
        return False
    kind = norm.thawed_class if isinstance(norm, FrozenStatistics) else type(norm)
    return kind is spec.cls or isinstance(norm, TORCH_KINDS.get(spec.name, ()))


def _structure(norm: nn.Module, option: str) -> object:
    """Return the value of an option that makes another layer."""
    attribute = "num_groups" if isinstance(norm, nn.GroupNorm) and option == "groups" else option
    return getattr(norm, attribute, None)


def changed_options(layer: nn.Module, spec: NormSpec) -> dict[str, Any]:
    """Return the options that change where a layer stays, with their new values.

    Which samples share statistics (`batch_size`, `sync`) is what the name of a batch norm says, so
    that they become the spec's or, where it does not say, the usual ones. All others stay where the
    spec does not name them.
    """
    present = options_of(layer) | {"affine": getattr(unwrapped(layer), "weight", None) is not None}
    samples = {name: spec.option(name) for name in ("batch_size", "sync")}
    wanted = {**samples, **spec.options}
    return {o: value for o, value in wanted.items() if o in present and present[o] != value}


def set_options(layer: nn.Module, options: Mapping[str, Any]) -> None:
    """Give options to a layer that stays."""
    norm = unwrapped(layer)
    for option, value in options.items():
        if option == "affine":
            for name in norm._parameters.keys() & {"weight", "bias"}:
                norm.register_parameter(name, None)
        elif option == "update_rate" and isinstance(norm, _BatchNorm):
            norm.momentum = value
        else:
            setattr(norm, option, value)
