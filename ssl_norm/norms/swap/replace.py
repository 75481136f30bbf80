"""Replacing the norms inside any model."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from ssl_norm.norms.factory import make_norm
from ssl_norm.norms.layers.standardized_layers import StandardizedWeights
from ssl_norm.norms.layers.weight_standardization import (
    check_standardizable,
    is_standardized,
    plain_weights,
    standardize_weights,
)
from ssl_norm.norms.spec import NormLike, NormSpec, parse_norm
from ssl_norm.norms.swap.around_norm import unwrapped
from ssl_norm.norms.swap.before_norms import layers_before_norms
from ssl_norm.norms.swap.build_replacement import successor
from ssl_norm.norms.swap.find import named_norms, num_features, unknown_norms
from ssl_norm.norms.swap.identify import changed_options, is_already, set_options
from ssl_norm.norms.swap.report import LayerChange, Replacement
from ssl_norm.norms.swap.torch_transformers import check_sample_axis, run_norms
from ssl_norm.norms.swap.transfer_state import Inheritance

__all__ = ["Replacement", "replace_norms"]


def replace_norms(model: nn.Module, spec: NormLike, *, dry_run: bool = False) -> Replacement:
    """Put a norm in place of every norm of a model, in place, and say what could not be carried over.

    Layers that are that norm already stay and only take on the options of the spec, so that their
    values and the model's state_dict keys survive: torch's under `bn` (with no other options than
    eps, update_rate and affine), `gn`, `ln`, `in` and `rms`, and ours. Others get a new layer with
    their device, dtype and mode, and all parameters, statistics and options that have a place in it
    (:func:`successor`). So batch norms, representative, ghost, frozen, synchronized and domain ones
    can be swapped and swapped back with the same state_dict and the same outputs in evaluation.

    A layer that ends in dropout and an activation (timm's BatchNormAct2d) keeps them. So do models
    all activations of their own, also behind frn and evonorm, which have a nonlinearity themselves:
    published networks have no other there. Where channels are last, as in ViT, the new norm's space
    are all positions of a sample, but `ln` and `rms` normalize each token, as torch's do.

    `+ws` standardizes the weights of every convolution and linear layer that a norm follows, as
    :func:`layers_before_norms` decides; a spec without it undoes that.

    Args:
        model: changed in place, unless an error is raised.
        spec: as for :func:`ssl_norm.norms.make_norm`; `none` removes norms for good. A class or function
            of `num_features` puts a norm of your own in place; to be found again for the next swap
            it has to be a subclass of RuleNorm or of one of torch's norms.
        dry_run: change nothing; `print(replace_norms(model, spec, dry_run=True).table())`.

    Raises:
        ValueError: there is nothing to replace or to standardize, or a layer cannot be replaced
            (groups do not divide its channels, ...), which is then named.
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
    """Return the layers whose weights have to become standardized, or plain.

    Raises:
        ValueError: weights shall be standardized, but none are before a norm, or one cannot be.
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
    """What is to be done with one norm layer: a new one in its place, or options for it."""

    successor: nn.Module | None
    inheritance: Inheritance
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
    """Return what is to be done with each norm layer; one step for a layer with two names."""
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(()))
    steps: dict[nn.Module, _Step] = {}
    for name, layer in norms:
        with _naming(name):
            if layer not in steps:
                steps[layer] = _step(layer, spec, like)
                check_sample_axis(_parent(model, name), steps[layer].successor or layer)
    return steps


def _step(layer: nn.Module, spec: NormSpec, like: Tensor) -> _Step:
    if not is_already(layer, spec):
        return _Step(*successor(layer, spec, like), options={})
    make_norm(spec, num_features(layer))  # refuses options that exclude each other
    return _Step(None, Inheritance((), (), ()), changed_options(layer, spec))


def _change(name: str, layer: nn.Module, step: _Step) -> LayerChange:
    """Return a step in words."""
    return LayerChange(
        name=name,
        old=type(unwrapped(layer)).__name__,
        channels=num_features(layer),
        replaced=step.successor is not None,
        options=tuple(f"{option}={value}" for option, value in step.options.items()),
        **step.inheritance._asdict(),
    )


def _take(step: _Step, model: nn.Module, name: str, layer: nn.Module) -> None:
    if step.successor is None:
        set_options(layer, step.options)
    else:
        model.set_submodule(name, step.successor)
        run_norms(_parent(model, name))


def _parent(model: nn.Module, name: str) -> nn.Module:
    return model.get_submodule(name.rpartition(".")[0])


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Prefix a ValueError with the layer that it is about."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"layer '{name}': {error}") from error
