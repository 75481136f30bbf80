"""Replacing the norms inside any model."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from ssl_norm.names import unknown_name
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
from ssl_norm.norms.swap.adapters import AroundNorm, ChannelsLast, call_norms, unwrapped
from ssl_norm.norms.swap.changeable import check_changeable
from ssl_norm.norms.swap.find import (
    USUAL_OPTIONS,
    affine_of,
    layers_before_norms,
    num_features,
    unknown_norms,
    usual_options_of,
)
from ssl_norm.norms.swap.kinds import (
    TOLERANCE,
    TORCH_KINDS,
    difference,
    kind_of,
    probes,
    structure,
    twin_of,
)
from ssl_norm.norms.swap.report import LayerChange, Replacement
from ssl_norm.norms.swap.transfer_state import new_layer

__all__ = ["Replacement", "replace_norms"]

SETTABLE_ON_TORCHS = ("eps", "update_rate", "affine")
SETTABLE = (*USUAL_OPTIONS, "affine")
SEQUENCE_FIRST = (
    "the axis of the samples is not known, as parts of this model are sequence-first "
    "(batch_first=False); pass sample_axis=1 for tokens (L, N, C), or example=, images whose number "
    "does not divide L"
)


def replace_norms(
    model: nn.Module,
    spec: NormLike,
    *,
    example: Tensor | None = None,
    sample_axis: Literal[0, 1] | None = None,
    keep: Collection[str] = (),
    dry_run: bool = False,
) -> Replacement:
    """Replace every norm of a model in place and report the state that could not be transferred.

    Layers that are that norm already stay and only take on the options of the spec: torch's under
    `bn` (with eps, update_rate and affine as the only options), `gn`, `ln`, `in` and `rms`, and
    ours. Others get a new layer with their device, dtype and mode, and all parameters, statistics
    and options that have a place in it (:func:`~ssl_norm.norms.swap.transfer_state.new_layer`). So
    one batch norm can be swapped for another (representative, ghost, frozen, synchronized, domain)
    and back with the same state_dict and the same outputs in evaluation. The report says which norm
    brings the network back exactly, if any does.

    A layer is known by what it computes (:func:`~ssl_norm.norms.swap.kinds.kind_of`): a subclass
    that does more than its norm is refused. One that ends in dropout and an activation (timm's
    BatchNormAct2d) keeps them, and a model keeps its activations, even after frn and evonorm, which
    contain a nonlinearity: published networks have no other there. Where channels are last, as in
    ViT, the space of the new norm is all positions of a sample, but `ln` and `rms` normalize each
    token, as torch's do.

    `+ws` standardizes the weights of every convolution and linear layer that a norm follows
    (:func:`~ssl_norm.norms.swap.find.layers_before_norms`); a spec without it undoes that.

    Args:
        model: changed in place, unless an error is raised.
        spec: as for :func:`ssl_norm.norms.make_norm`; `none` removes norms for good. A norm of your
            own must be a subclass of RuleNorm or of one of torch's norms to be found by the next
            swap.
        example: a batch that the model takes, of at least two samples, which are its first axis.
            The model runs on it once, in evaluation mode, which shows the axis of the samples in
            tokens, and the layers whose input is too small for the new norm.
        sample_axis: axis of the samples where channels are last: 0, or 1 in sequence-first tokens
            (L, N, C). None: as the example shows, else 0; an error if parts of the model are
            sequence-first and there is no example of images.
        keep: names of norm layers that stay as they are.
        dry_run: change nothing; `print(replace_norms(model, spec, dry_run=True).table())`.

    Raises:
        ValueError: there is nothing to replace or to standardize, the model cannot be changed
            (TorchScript, DistributedDataParallel, quantized, ...), or the layer that is named
            cannot be replaced (groups do not divide its channels, ...).
        TypeError: the norm has no such option, or the model is not a module.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64), nn.ReLU())
        >>> report = replace_norms(model, "gn+ws")
        >>> len(report.replaced), report.standardized, report.changes[0].dropped[:2]
        (1, ('0',), ('running_mean', 'running_var'))
    """
    parsed = parse_norm(spec).checked()
    norms = check_changeable(model, parsed)
    for name in keep:
        if name not in dict(norms):
            raise ValueError(unknown_name("norm layer in keep", name, dict(norms)))
    norms = [(name, layer) for name, layer in norms if name not in keep]
    weighted = _weighted_layers(model, parsed)
    steps = _steps(model, parsed, norms, example, sample_axis)
    names = tuple(name for name, _ in weighted)
    report = Replacement(
        norm=parsed,
        changes=tuple(steps[layer].change._replace(name=name) for name, layer in norms),
        standardized=names if parsed.weight_standardization else (),
        plain=() if parsed.weight_standardization else names,
        weighted=sum(isinstance(layer, (nn.Linear, _ConvNd)) for layer in model.modules()),
        left=(*keep, *unknown_norms(model)),
        dry_run=dry_run,
    )
    if not dry_run:
        for name, layer in norms:
            step = steps[layer]
            if step.new is None:
                _set_options(unwrapped(layer), step.options)
            else:
                model.set_submodule(name, step.new)
                call_norms(_parent(model, name))
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
    """Plan for one norm layer: a new layer, or new options of a layer that stays."""

    new: nn.Module | None
    change: LayerChange
    options: Mapping[str, Any]


def _steps(
    model: nn.Module,
    spec: NormSpec,
    norms: list[tuple[str, nn.Module]],
    example: Tensor | None,
    sample_axis: int | None,
) -> dict[nn.Module, _Step]:
    """Return the plan for each norm layer; one step for a layer with two names."""
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(()))
    shapes = {} if example is None else _input_shapes(model, norms, example)
    sequence_first = any(getattr(part, "batch_first", True) is False for part in model.modules())
    if sequence_first and example is not None and example.ndim == 3:
        samples = None  # the example may be sequence-first itself
    else:
        samples = None if example is None else len(example)
    steps: dict[nn.Module, _Step] = {}
    for name, layer in norms:
        if layer in steps:
            continue
        with _naming(name):
            step, shape = _step(layer, spec, like), shapes.get(layer)
            adapter = _new_adapter(step.new, layer)
            if adapter is not None:
                axis = sample_axis if sample_axis is not None else _sample_axis(shape, samples)
                if axis is None and sequence_first:
                    raise ValueError(SEQUENCE_FIRST)
                adapter.sample_axis = axis or 0
                step = step._replace(change=step.change._replace(assumed=axis is None))
            if step.new is not None and (example is None or shape is not None):
                small = _try_out(step.new, step.change.channels, shape, like)
                step = step._replace(change=step.change._replace(needs_space=small))
            steps[layer] = step
    return steps


def _new_adapter(new: nn.Module | None, layer: nn.Module) -> ChannelsLast | None:
    """Return the part of a new layer that moves the channels, if the layer had none to copy."""
    if new is None or isinstance(layer, AroundNorm):
        return None
    return next((part for part in new.modules() if isinstance(part, ChannelsLast)), None)


def _sample_axis(shape: tuple[int, ...] | None, samples: int | None) -> int | None:
    """Return the axis of the samples in (N, *spatial, C) or (L, N, C), None if it may be either."""
    if shape is None or samples is None:
        return None
    first = shape[0] % samples == 0  # several windows of an image, for example
    second = len(shape) == 3 and shape[1] == samples
    return None if first == second else int(second)


def _step(layer: nn.Module, spec: NormSpec, like: Tensor) -> _Step:
    change = LayerChange("", type(unwrapped(layer)).__name__, num_features(layer))
    if _is_already(layer, spec):
        make_norm(spec, num_features(layer))  # refuses options that exclude each other
        options = _changed_options(layer, spec)
        shown = tuple(f"{option}={value}" for option, value in options.items())
        return _Step(None, change._replace(options=shown), options)
    new, transfer = new_layer(layer, spec, like)
    change = change._replace(replaced=True, back=_comes_back(layer, spec), **transfer._asdict())
    return _Step(new, change, {})


@torch.no_grad()
def _input_shapes(
    model: nn.Module, norms: list[tuple[str, nn.Module]], example: Tensor
) -> dict[nn.Module, tuple[int, ...]]:
    """Return the shape of the input of each norm layer that the model calls with an example."""
    shapes: dict[nn.Module, tuple[int, ...]] = {}

    def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        shapes[layer] = tuple(inputs[0].shape)

    handles = [layer.register_forward_pre_hook(note) for _, layer in norms]
    modes = [(part, vars(part)["training"]) for part in model.modules()]
    try:
        model.eval()(example)
    finally:
        for part, mode in modes:
            part.training = mode
        for handle in handles:
            handle.remove()
    return shapes


@torch.no_grad()
def _try_out(new: nn.Module, channels: int, shape: tuple[int, ...] | None, like: Tensor) -> bool:
    """Return whether a new norm refuses maps of one position; raise if it refuses `shape`."""
    last = any(isinstance(part, ChannelsLast) for part in new.modules())
    mode, tensor = vars(new)["training"], next(iter(new.state_dict().values()), like)
    x = tensor.new_zeros(shape or ((2, 1, 1, channels) if last else (2, channels, 1, 1)))
    try:
        new.eval().forward(x.to(like.dtype))
    except (ValueError, RuntimeError) as error:
        if shape is not None:
            raise
        return isinstance(error, ValueError)
    finally:
        new.train(mode)
    return False


def _parent(model: nn.Module, name: str) -> nn.Module:
    return model.get_submodule(name.rpartition(".")[0])


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Prefix a ValueError with the name of the layer."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"layer '{name}': {error}") from error


def _comes_back(layer: nn.Module, spec: NormSpec) -> str | None:
    """Return the name that brings a layer back exactly once the spec replaced it, else None.

    It is tried on a copy with random values, in evaluation and in training.
    """
    name = kind_of(layer).name
    if name is None or spec.name == "none":
        return None
    original, like = twin_of(layer), torch.empty(())
    back, _ = new_layer(twin_of(layer), spec, like)
    if not _is_already(back, NormSpec(name)):  # else it is kept, as is gn of one group
        back, _ = new_layer(back, NormSpec(name), like)
    for x, _ in probes(unwrapped(layer)):
        with suppress(Exception):  # a foreign forward may raise anything on this shape
            return name if difference(original, back, x) < TOLERANCE else None
    return None


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
        option in settable or structure(norm, option) == value
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


def _changed_options(layer: nn.Module, spec: NormSpec) -> dict[str, Any]:
    """Return the options that change where a layer stays, with their new values.

    `batch_size` and `sync` are part of the meaning of a name, so they become those of the spec,
    given or default. Other options stay where the spec does not name them.
    """
    present = usual_options_of(layer) | {"affine": bool(affine_of(unwrapped(layer)))}
    samples = {name: spec.option(name) for name in ("batch_size", "sync")}
    wanted = {**samples, **spec.options}
    return {o: value for o, value in wanted.items() if o in present and present[o] != value}


def _set_options(norm: nn.Module, options: Mapping[str, Any]) -> None:
    """Give options to a norm that stays."""
    for option, value in options.items():
        if option == "affine":
            for name in norm._parameters.keys() & {"weight", "bias"}:
                norm.register_parameter(name, None)
        elif option == "update_rate" and isinstance(norm, _BatchNorm):
            norm.momentum = value
        else:
            setattr(norm, option, value)
