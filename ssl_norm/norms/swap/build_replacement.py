"""One norm layer in place of another: what it inherits."""

from copy import copy
from typing import Any

from torch import Tensor, nn

from ssl_norm.norms.batch.freezing import FROZEN_PARAMETERS, FrozenStatistics, freeze_statistics
from ssl_norm.norms.factory import make_norm
from ssl_norm.norms.spec import NormSpec
from ssl_norm.norms.swap.around_norm import AroundNorm, unwrapped
from ssl_norm.norms.swap.channels_last import ChannelsLast
from ssl_norm.norms.swap.find import (
    BATCH_NORMS,
    keeps_batch_statistics,
    num_features,
    takes_channels_last,
)
from ssl_norm.norms.swap.identify import USUAL_OPTIONS, options_of
from ssl_norm.norms.swap.norm_act import NormAct
from ssl_norm.norms.swap.transfer_state import AFFINE, Inheritance, carry_over

PER_TOKEN: dict[str, type[nn.LayerNorm] | type[nn.RMSNorm]] = {
    "ln": nn.LayerNorm,
    "rms": nn.RMSNorm,
}
BATCH_POLICIES = ("update_rate", "evaluation", "population")  # those that a successor inherits


def successor(layer: nn.Module, spec: NormSpec, like: Tensor) -> tuple[nn.Module, Inheritance]:
    """Return a new norm with a layer's channels, mode, values, axis order and activation.

    Options that the spec does not name come from the layer: eps and `affine` from any and, where both
    keep statistics of batches, update rate, evaluation and population. Statistics that
    :func:`ssl_norm.norms.batch.freezing.freeze_statistics` froze stay frozen where that is possible.

    Args:
        layer: the norm layer to succeed; not altered.
        spec: the norm to build.
        like: gives device and dtype where the layer holds no tensor.

    Returns:
        The new layer, and what it has from the old one and what not.
    """
    old, channels_last = unwrapped(layer), takes_channels_last(layer)
    new = _new_norm(old, spec, channels_last)
    like = next((t for t in old.state_dict().values() if t.is_floating_point()), like)
    new.to(device=like.device, dtype=like.dtype)
    inheritance = carry_over(old, new)
    if spec.constructor is None:
        _inherit_options(old, new, spec)
    dropped = (*inheritance.dropped, *_dropped_options(old, new, spec), *_freeze_as(old, new))
    if channels_last and spec.name != "none" and not isinstance(new, tuple(PER_TOKEN.values())):
        new = ChannelsLast(new)
    new = _with_activation(new, layer)
    new.train(old.__dict__["training"])  # what was last asked for, also of a frozen layer
    return new, inheritance._replace(dropped=dropped)


def _new_norm(old: nn.Module, spec: NormSpec, channels_last: bool) -> nn.Module:
    """Return the norm that the spec names; where channels are last, ln and rms are one per token."""
    if spec.constructor is not None or spec.name == "none":
        return make_norm(spec, num_features(old))
    options = dict(spec.options)
    if "affine" in spec.all_options and not any(name in _affine(old) for name in AFFINE):
        options.setdefault("affine", False)
    if channels_last and spec.name in PER_TOKEN:
        return PER_TOKEN[spec.name](
            num_features(old),
            eps=options.get("eps", getattr(old, "eps", USUAL_OPTIONS["eps"])),
            elementwise_affine=options.get("affine", True),
        )
    return make_norm(NormSpec(spec.name, options), num_features(old))


def _affine(norm: nn.Module) -> set[str]:
    """Return which of weight and bias a norm has, as parameters or constants."""
    return {name for name in AFFINE if isinstance(getattr(norm, name, None), Tensor)}


def _inherit_options(old: nn.Module, new: nn.Module, spec: NormSpec) -> None:
    """Give eps and, where both keep statistics of batches, their policies to the new norm, unless the spec does."""
    policies = keeps_batch_statistics(old) and keeps_batch_statistics(new)
    options = options_of(old)
    for name in ("eps", *BATCH_POLICIES) if policies else ("eps",):
        value = options.get(name)
        if name not in spec.options and value is not None and hasattr(new, name):
            setattr(new, name, value)


def _dropped_options(old: nn.Module, new: nn.Module, spec: NormSpec) -> list[str]:
    """Return the unusual options of a batch norm that its successor has not, unasked."""
    if not keeps_batch_statistics(old):
        return []
    present = options_of(new)
    return [
        f"{name}={value}"
        for name, value in options_of(old).items()
        if value not in (None, USUAL_OPTIONS[name])
        and name not in spec.options
        and present.get(name) != value
    ]


def _freeze_as(old: nn.Module, new: nn.Module) -> list[str]:
    """Freeze what was frozen; return what could not be."""
    names = [name for name in old.__dict__.get(FROZEN_PARAMETERS, []) if name in new._parameters]
    if names:
        new.__dict__[FROZEN_PARAMETERS] = names
    if not isinstance(old, FrozenStatistics):
        return []
    if isinstance(new, BATCH_NORMS) and getattr(new, "evaluation", None) != "batch":
        freeze_statistics(new)
        return []
    return [] if keeps_batch_statistics(new) and not isinstance(new, BATCH_NORMS) else ["frozen"]


def _with_activation(norm: nn.Module, layer: nn.Module) -> nn.Module:
    """Return the norm followed by the dropout and activation that a layer ends in, if any."""
    parts = {name: _part(layer, name) for name in ("drop", "act")}
    if all(isinstance(part, nn.Identity) for part in parts.values()):
        return norm
    if isinstance(norm, nn.Identity) and hasattr(parts["act"], "inplace"):
        # Without a norm before it, it would overwrite the input, which a shortcut may still need.
        parts["act"] = copy(parts["act"])
        setattr(parts["act"], "inplace", False)  # noqa: B010 - no attribute of Module
    return NormAct(norm, parts["drop"], parts["act"])


def _part(layer: nn.Module, name: str) -> nn.Module:
    """Return the dropout or activation of a layer or of the norm inside it; the identity for none."""
    part: Any = getattr(layer, name, None)
    if isinstance(part, nn.Module):
        return part
    return _part(layer.norm, name) if isinstance(layer, AroundNorm) else nn.Identity()
