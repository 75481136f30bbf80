"""New norm layers with the state and options of the ones they replace."""

from copy import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ssl_norm.norms.batch.freezing import FrozenStatistics, freeze_statistics
from ssl_norm.norms.spec import NormSpec, make_norm
from ssl_norm.norms.swap.find import (
    BATCH_NORMS,
    STATISTICS,
    USUAL_OPTIONS,
    AroundNorm,
    ChannelsLast,
    NormAct,
    PerPosition,
    affine_of,
    is_nonlinear,
    keeps_batch_statistics,
    num_features,
    options_of,
    unwrapped,
)
from ssl_norm.norms.swap.kinds import HOOKS, Kind, kind_of

ACTIVATION = ("drop", "act")  # last parts of timm's norms; the new layer takes over the modules
PER_TOKEN: dict[str, Any] = {"ln": nn.LayerNorm, "rms": nn.RMSNorm}
REPLACED = "replaced_kinds"  # attribute of a new layer: the kinds that it has replaced, by name
BATCH_POLICIES = ("update_rate", "evaluation", "population")  # a new batch norm takes these over
Names = dict[str, Any]  # tuples of names of parameters, statistics and options


def new_layer(layer: nn.Module, spec: NormSpec, like: Tensor) -> tuple[nn.Module, Names]:
    """Return a new norm with the channels, mode, values, hooks, axes and activation of a layer.

    The names of :func:`transfer_state` are returned as well.

    Options that the spec does not name are taken from the layer: eps, `affine` and, if both are
    batch norms, update rate, evaluation and population. If a norm of the same name was in this
    place before, a spec without options restores the options and axes of that norm. Statistics that
    :func:`ssl_norm.norms.batch.freezing.freeze_statistics` froze stay frozen if possible. If the
    layer has no tensor, device and dtype are those of `like`.
    """
    old, kind = unwrapped(layer), kind_of(layer)
    replaced: dict[str, Kind] = vars(old).get(REPLACED, {})
    earlier = replaced.get(spec.name) if spec.constructor is None and not spec.options else None
    full = replace(spec, options=earlier.options) if earlier else spec
    per_position = earlier is not None and earlier.per_position
    new = _new_norm(old, full, per_token=kind.channels_last or per_position)
    like = next((t for t in old.state_dict().values() if t.is_floating_point()), like)
    new.to(device=like.device, dtype=like.dtype)
    names = transfer_state(old, new)
    if spec.constructor is None:
        _inherit_options(old, new, spec)
    names["dropped"] += (*_dropped_options(old, new, spec), *_freeze_as(old, new))
    vars(new)[REPLACED] = replaced | ({kind.name: kind} if kind.name else {})
    if per_position:
        new = PerPosition(new)
    elif kind.channels_last and not isinstance(new, nn.Identity | nn.LayerNorm | nn.RMSNorm):
        new = ChannelsLast(new, kind.sample_axis or 0)
    new = _with_activation(new, layer)
    for name in (*HOOKS, "_is_full_backward_hook"):
        vars(new)[name] = vars(layer)[name]
    new.train(vars(old)["training"])  # the mode that was last requested, also of a frozen layer
    return new, names


def _new_norm(old: nn.Module, spec: NormSpec, *, per_token: bool) -> nn.Module:
    """Return the norm of the spec; with statistics per token, ln and rms are torch's layers."""
    if spec.constructor is not None or spec.name == "none":
        return make_norm(spec, num_features(old))
    options = dict(spec.options)
    if "affine" in spec.all_options and not affine_of(old):
        options.setdefault("affine", False)
    if per_token and spec.name in PER_TOKEN:
        eps: Any = options.get("eps") or getattr(old, "eps", None) or USUAL_OPTIONS["eps"]
        affine = options.get("affine", True)
        layer: nn.Module = PER_TOKEN[spec.name](num_features(old), eps, affine)
        return layer
    return make_norm(NormSpec(spec.name, options), num_features(old))


def _inherit_options(old: nn.Module, new: nn.Module, spec: NormSpec) -> None:
    """Copy eps and, between batch norms, policies, unless the spec names them."""
    policies = keeps_batch_statistics(old) and keeps_batch_statistics(new)
    for name, value in options_of(old, ("eps", *BATCH_POLICIES) if policies else ("eps",)).items():
        if name not in spec.options and value is not None and hasattr(new, name):
            setattr(new, name, value)


def _dropped_options(old: nn.Module, new: nn.Module, spec: NormSpec) -> list[str]:
    """Return the non-default options of a batch norm that neither the new norm nor the spec has."""
    if not keeps_batch_statistics(old):
        return []
    present = options_of(new, USUAL_OPTIONS)
    return [
        f"{name}={value}"
        for name, value in options_of(old, USUAL_OPTIONS).items()
        if value not in (None, USUAL_OPTIONS[name])
        and name not in spec.options
        and present.get(name) != value
    ]


def _freeze_as(old: nn.Module, new: nn.Module) -> list[str]:
    """Freeze statistics that were frozen; return ["frozen"] if this is not possible."""
    if not isinstance(old, FrozenStatistics):
        return []
    if isinstance(new, BATCH_NORMS) and getattr(new, "evaluation", None) != "batch":
        freeze_statistics(new)
        return []
    return [] if keeps_batch_statistics(new) and not isinstance(new, BATCH_NORMS) else ["frozen"]


def _with_activation(norm: nn.Module, layer: nn.Module) -> nn.Module:
    """Return the norm followed by the dropout and activation at the end of a layer, if any."""
    parts = {name: _part(layer, name) for name in ("drop", "act")}
    if all(isinstance(part, nn.Identity) for part in parts.values()):
        return norm
    if isinstance(norm, nn.Identity) and hasattr(parts["act"], "inplace"):
        # Without a norm before it, an in-place activation overwrites the input of a shortcut.
        parts["act"] = copy(parts["act"])
        vars(parts["act"])["inplace"] = False
    return NormAct(norm, parts["drop"], parts["act"])


def _part(layer: nn.Module, name: str) -> nn.Module:
    """Return the dropout or activation of a layer, or of the norm inside it, or the identity."""
    part: Any = getattr(layer, name, None)
    if isinstance(part, nn.Module):
        return part
    return _part(layer.norm, name) if isinstance(layer, AroundNorm) else nn.Identity()


def transfer_state(old: nn.Module, new: nn.Module) -> Names:
    """Give a new norm the values of an old one that have the same name and fit.

    Statistics are copied between batch norms only. Variances of channels become the diagonal of the
    covariances of a whitening norm, and the reverse. Converting to a domain norm copies the values
    to every domain; converting from one keeps domain 0, which it uses in evaluation. Parameters
    stay the same objects, so that an optimizer that holds them still works.

    Returns:
        Names under three keys. `carried`: in both norms; `dropped`: only in the old norm;
        `initial`: only in the new norm.
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
    parts = (name for name, part in old.named_children() if not isinstance(part, nn.Identity))
    dropped = (
        *_dropped(given, fitting),
        *(name for name in parts if name not in ACTIVATION),
        *["nonlinearity"] * (is_nonlinear(old) and not is_nonlinear(new)),
    )
    initial = tuple(name for name in wanted if name not in fitting)
    return {"carried": tuple(fitting), "dropped": dropped, "initial": initial}


def _own_state(norm: nn.Module) -> dict[str, Tensor]:
    """Return the state of a norm by name, without that of its activation."""
    state = norm.state_dict(keep_vars=True)
    return {k: v for k, v in state.items() if k.partition(".")[0] not in ACTIVATION}


def _values(
    old: nn.Module, new: nn.Module, given: dict[str, Tensor], wanted: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Return the values that can be copied, with variances as covariances and the reverse."""
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
    """Return a value in the shape of its target; None if the two differ in meaning."""
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
    """Set a parameter to the given object, and any other value to a copy."""
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
    """Return the names of values that the new norm does not have, or only in part."""
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
