"""The parameters and statistics that one norm takes over from another."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ssl_norm.norms.swap.find import is_nonlinear, keeps_batch_statistics

AFFINE = ("weight", "bias")
STATISTICS = ("running_mean", "running_var", "running_covariance", "num_batches_tracked")
ACTIVATION = ("drop", "act")  # what timm's norms end in; it moves whole


class Inheritance(NamedTuple):
    """What became of a norm's parameters, statistics and options.

    Attributes:
        carried: names of what the new norm has from the old one.
        dropped: what has no place in the new one.
        initial: names of what the old one did not have.
    """

    carried: tuple[str, ...]
    dropped: tuple[str, ...]
    initial: tuple[str, ...]


def carry_over(old: nn.Module, new: nn.Module) -> Inheritance:
    """Give a new norm the values of an old one that have the same name and fit.

    Statistics pass between norms of batch statistics only. Between a variance for each channel and
    the covariances of a whitening norm they pass as the diagonal. A norm with a table for each
    domain gets the same values for all, and gives those of domain 0, with which it evaluates.
    Parameters are the same objects afterwards, so that an optimizer that holds them goes on.

    Args:
        old: the norm that is replaced; not altered.
        new: changed in place.
    """
    given, wanted = _own_state(old), _own_state(new)
    values = _values(old, new, given, wanted)
    fitting = {
        name: fitted
        for name, target in wanted.items()
        if name in values and (fitted := _fit(name, values[name], target)) is not None
    }
    for name, value in fitting.items():
        _set_value(new, name, value)
    return Inheritance(
        tuple(fitting),
        (*_dropped(given, fitting), *_dropped_parts(old), *_dropped_nonlinearity(old, new)),
        tuple(name for name in wanted if name not in fitting),
    )


def _own_state(norm: nn.Module) -> dict[str, Tensor]:
    """Return what a norm saves, by name, without its activation's."""
    state = norm.state_dict(keep_vars=True)
    return {k: v for k, v in state.items() if k.partition(".")[0] not in ACTIVATION}


def _values(
    old: nn.Module, new: nn.Module, given: dict[str, Tensor], wanted: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Return what can be carried: variances as covariances and the reverse, where one is wanted."""
    if not (keeps_batch_statistics(old) and keeps_batch_statistics(new)):
        return {name: value for name, value in given.items() if name not in STATISTICS}
    values = dict(given)
    covariance, wanted_covariance = (d.get("running_covariance") for d in (given, wanted))
    if covariance is not None:
        values["running_var"] = covariance.diagonal(dim1=1, dim2=2).flatten()
    if (
        wanted_covariance is not None
        and "running_var" in values
        and (covariance is None or covariance.shape != wanted_covariance.shape)
    ):
        variance = _fit("running_var", values["running_var"], wanted["running_mean"])
        if variance is not None:
            groups = variance.reshape(wanted_covariance.shape[:2])
            values["running_covariance"] = torch.diag_embed(groups)
    return values


def _fit(name: str, value: Tensor, target: Tensor) -> Tensor | None:
    """Return a value in the shape of its target; None where it has another meaning."""
    if value.shape == target.shape:
        return value
    if max(value.ndim, target.ndim) != 2 and name != "num_batches_tracked":
        return None
    if value.shape == target.shape[1:]:
        return value.detach().expand_as(target)  # to every domain
    if value.shape[1:] == target.shape:
        return value.detach()[0]  # domain 0
    return None


def _set_value(norm: nn.Module, name: str, value: Tensor) -> None:
    """Put a value in place: a parameter as it is, anything else as a copy."""
    path, _, own_name = name.rpartition(".")
    module = norm.get_submodule(path)
    target = getattr(module, own_name)
    if not isinstance(target, nn.Parameter):
        setattr(module, own_name, value.detach().clone())
    elif isinstance(value, nn.Parameter):
        setattr(module, own_name, value)
    else:
        setattr(module, own_name, nn.Parameter(value.clone(), target.requires_grad))


def _dropped(given: dict[str, Tensor], carried: dict[str, Tensor]) -> list[str]:
    """Return the names of what the new norm does not have, or has a part of."""
    dropped = []
    for name, value in given.items():
        if name == "running_var" and "running_covariance" in carried:
            continue
        if name == "running_covariance" and "running_var" in carried:
            dropped.append("covariances between channels")
        elif name not in carried:
            dropped.append(name)
        elif value.ndim > carried[name].ndim:
            dropped.append(f"{name} of domains from 1 on")
    return dropped


def _dropped_parts(norm: nn.Module) -> list[str]:
    """Return what a norm has beside state and does not hand on: layers inside it, and hooks."""
    parts = [
        name
        for name, part in norm.named_children()
        if name not in ACTIVATION and not isinstance(part, nn.Identity)
    ]
    return [*parts, *["hooks"] * bool(norm._forward_hooks or norm._forward_pre_hooks)]


def _dropped_nonlinearity(old: nn.Module, new: nn.Module) -> list[str]:
    return ["nonlinearity"] * (is_nonlinear(old) and not is_nonlinear(new))
