"""Replacing the norms inside any model."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm

from ssl_norm.norms.batch.batch_statistics import BatchStatisticsNorm
from ssl_norm.norms.batch.freezing import FrozenStatistics
from ssl_norm.norms.layers.weight_standardization import (
    StandardizedWeights,
    check_standardizable,
    is_standardized,
    plain_weights,
    standardize_weights,
)
from ssl_norm.norms.spec import NormLike, NormSpec, make_norm, parse_norm
from ssl_norm.norms.swap.adapters import call_norms, check_sample_axis, unwrapped
from ssl_norm.norms.swap.find import (
    USUAL_OPTIONS,
    affine_of,
    layers_before_norms,
    named_norms,
    num_features,
    unknown_norms,
    usual_options_of,
)
from ssl_norm.norms.swap.report import LayerChange, Replacement
from ssl_norm.norms.swap.transfer_state import Transfer, new_layer

__all__ = ["Replacement", "replace_norms"]

TORCH_KINDS: Mapping[str, type[nn.Module]] = {
    "bn": _BatchNorm,
    "in": _InstanceNorm,
    "ln": nn.LayerNorm,
    "gn": nn.GroupNorm,
    "rms": nn.RMSNorm,
}
SETTABLE_ON_TORCHS = ("eps", "update_rate", "affine")
SETTABLE = (*USUAL_OPTIONS, "affine")


def replace_norms(model: nn.Module, spec: NormLike, *, dry_run: bool = False) -> Replacement:
    """Replace every norm of a model in place and report the state that could not be transferred.

    Layers that are that norm already stay and only take on the options of the spec: torch's under
    `bn` (with eps, update_rate and affine as the only options), `gn`, `ln`, `in` and `rms`, and
    ours. Others get a new layer with their device, dtype and mode, and all parameters, statistics
    and options that have a place in it (:func:`~ssl_norm.norms.swap.transfer_state.new_layer`). So
    one batch norm can be swapped for another (representative, ghost, frozen, synchronized, domain)
    and back with the same state_dict and the same outputs in evaluation.

    A layer that ends in dropout and an activation (timm's BatchNormAct2d) keeps them, and a model
    keeps its activations, even after frn and evonorm, which contain a nonlinearity: published
    networks have no other there. Where channels are last, as in ViT, the space of the new norm is
    all positions of a sample, but `ln` and `rms` normalize each token, as torch's do.

    `+ws` standardizes the weights of every convolution and linear layer that a norm follows
    (:func:`~ssl_norm.norms.swap.find.layers_before_norms`); a spec without it undoes that.

    Args:
        model: changed in place, unless an error is raised.
        spec: as for :func:`ssl_norm.norms.make_norm`; `none` removes norms for good. A norm of your
            own must be a subclass of RuleNorm or of one of torch's norms to be found by the next
            swap.
        dry_run: change nothing; `print(replace_norms(model, spec, dry_run=True).table())`.

    Raises:
        ValueError: there is nothing to replace or to standardize, or the layer that is named cannot
            be replaced (groups do not divide its channels, ...).
        TypeError: the norm has no such option.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64), nn.ReLU())
        >>> report = replace_norms(model, "gn+ws")
        >>> len(report.replaced), report.standardized, report.changes[0].dropped[:2]
        (1, ('0',), ('running_mean', 'running_var'))
    """
    parsed = parse_norm(spec).checked()
    norms = named_norms(model)
    _check_model(model, parsed, norms)
    weighted = _weighted_layers(model, parsed)
    steps = _steps(model, parsed, norms)
    names = tuple(name for name, _ in weighted)
    report = Replacement(
        norm=parsed,
        changes=tuple(_change(name, layer, steps[layer]) for name, layer in norms),
        standardized=names if parsed.weight_standardization else (),
        plain=() if parsed.weight_standardization else names,
        weighted=sum(isinstance(layer, (nn.Linear, _ConvNd)) for layer in model.modules()),
        left=tuple(unknown_norms(model)),
        dry_run=dry_run,
    )
    if not dry_run:
        for name, layer in norms:
            _take(steps[layer], model, name, layer)
        for _, layer in weighted:
            (standardize_weights if parsed.weight_standardization else plain_weights)(layer)
    return report


def _weighted_layers(model: nn.Module, spec: NormSpec) -> list[tuple[str, nn.Module]]:
    """Return the layers whose weights must become standardized, or plain.

    Raises:
        ValueError: no layer before a norm could be standardized, or one of them could not.
    """
    layers = layers_before_norms(model)
    if not spec.weight_standardization:
        return [pair for pair in layers if isinstance(pair[1], StandardizedWeights)]
    if not layers:
        raise ValueError(
            f"{type(model).__name__} has no convolution or linear layer before a norm, so '{spec}' "
            "changes no weights"
        )
    for name, layer in layers:
        with _naming(name):
            check_standardizable(layer)
    return [pair for pair in layers if not is_standardized(pair[1])]


class _Step(NamedTuple):
    """Plan for one norm layer: a new layer, or new options."""

    new: nn.Module | None
    transfer: Transfer
    options: Mapping[str, Any]


def _check_model(model: nn.Module, spec: NormSpec, norms: list[tuple[str, nn.Module]]) -> None:
    """Raise ValueError where the model leaves nothing to replace."""
    kind = type(model).__name__
    if any(layer is model for _, layer in norms):
        raise ValueError(f"the model is itself a norm layer, {kind}; make_norm builds another")
    if not norms and spec.name != "none":
        left = unknown_norms(model)
        hint = f"layers of unknown kind: {', '.join(left[:3])}" if left else "'none' describes it"
        raise ValueError(f"{kind} has no norm layer for '{spec}' to replace; {hint}")


def _steps(
    model: nn.Module, spec: NormSpec, norms: list[tuple[str, nn.Module]]
) -> dict[nn.Module, _Step]:
    """Return the plan for each norm layer; one step for a layer with two names."""
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(()))
    steps: dict[nn.Module, _Step] = {}
    for name, layer in norms:
        with _naming(name):
            if layer not in steps:
                steps[layer] = _step(layer, spec, like)
                check_sample_axis(_parent(model, name), steps[layer].new or layer)
    return steps


def _step(layer: nn.Module, spec: NormSpec, like: Tensor) -> _Step:
    if not _is_already(layer, spec):
        return _Step(*new_layer(layer, spec, like), options={})
    make_norm(spec, num_features(layer))  # refuses options that exclude each other
    return _Step(None, Transfer(), _changed_options(layer, spec))


def _change(name: str, layer: nn.Module, step: _Step) -> LayerChange:
    """Return a step in the form of the report."""
    return LayerChange(
        name=name,
        old=type(unwrapped(layer)).__name__,
        channels=num_features(layer),
        replaced=step.new is not None,
        options=tuple(f"{option}={value}" for option, value in step.options.items()),
        **step.transfer._asdict(),
    )


def _take(step: _Step, model: nn.Module, name: str, layer: nn.Module) -> None:
    if step.new is None:
        _set_options(layer, step.options)
    else:
        model.set_submodule(name, step.new)
        call_norms(_parent(model, name))


def _parent(model: nn.Module, name: str) -> nn.Module:
    return model.get_submodule(name.rpartition(".")[0])


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Prefix a ValueError with the name of the layer."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"layer '{name}': {error}") from error


def _is_already(layer: nn.Module, spec: NormSpec) -> bool:
    """Return whether a layer is the norm of the spec, so that it can stay."""
    norm = unwrapped(layer)
    if spec.constructor is not None or not _is_kind(norm, spec):
        return False
    if spec.options.get("affine") and not affine_of(norm):
        return False
    if isinstance(norm, FrozenStatistics) and spec.options.get("evaluation") == "batch":
        return False
    settable = SETTABLE if isinstance(norm, BatchStatisticsNorm) else SETTABLE_ON_TORCHS
    return all(
        option in settable or _structure(norm, option) == value
        for option, value in spec.options.items()
    )


def _is_kind(norm: nn.Module, spec: NormSpec) -> bool:
    """Return whether a layer is the norm that the spec names, in our class or torch's."""
    if isinstance(norm, nn.GroupNorm):
        return spec.name == ("ln" if norm.num_groups == 1 else "gn")
    if isinstance(norm, nn.SyncBatchNorm):
        return False
    kind = norm.thawed_class if isinstance(norm, FrozenStatistics) else type(norm)
    return kind is spec.cls or isinstance(norm, TORCH_KINDS.get(spec.name, ()))


def _structure(norm: nn.Module, option: str) -> object:
    """Return the value of an option that no layer can change."""
    attribute = "num_groups" if isinstance(norm, nn.GroupNorm) and option == "groups" else option
    return getattr(norm, attribute, None)


def _changed_options(layer: nn.Module, spec: NormSpec) -> dict[str, Any]:
    """Return the options that change where a layer stays, with their new values.

    `batch_size` and `sync` are part of the meaning of a name, so they become those of the spec,
    given or default. Other options stay where the spec does not name them.
    """
    present = usual_options_of(layer) | {"affine": bool(affine_of(unwrapped(layer)))}
    samples = {name: spec.option(name) for name in ("batch_size", "sync")}
    wanted = {**samples, **spec.options}
    return {o: value for o, value in wanted.items() if o in present and present[o] != value}


def _set_options(layer: nn.Module, options: Mapping[str, Any]) -> None:
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
