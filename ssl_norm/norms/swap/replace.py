"""Replacing the norms inside any model."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from ssl_norm.names import unknown_name
from ssl_norm.norms.batch.freezing import FrozenStatistics, evaluation_mode
from ssl_norm.norms.layers.weight_standardization import (
    StandardizedWeights,
    check_standardizable,
    is_standardized,
    plain_weights,
    standardize_weights,
)
from ssl_norm.norms.spec import NormLike, NormSpec, parse_norm
from ssl_norm.norms.swap.find import (
    STATISTICS,
    AroundNorm,
    ChannelsLast,
    layers_before_norms,
    named_norms,
    num_features,
    options_of,
    unknown_norms,
    unwrapped,
)
from ssl_norm.norms.swap.kinds import TOLERANCE, TORCH_KINDS, difference, kind_of, probes, twin_of
from ssl_norm.norms.swap.transfer_state import new_layer
from ssl_norm.text import text_table

__all__ = ["Replacement", "replace_norms"]

WRAPPERS = ("DistributedDataParallel", "FullyShardedDataParallel", "FSDPModule")
QUANTIZERS = ("FakeQuantizeBase", "ObserverBase")
SEQUENCE_FIRST = (
    "the axis of the samples is not known, because parts of this model are sequence-first "
    "(batch_first=False); pass sample_axis=1 for tokens (L, N, C), or example=images, with a number "
    "of images that does not divide L"
)


class LayerChange(NamedTuple):
    """Change of one norm layer."""

    name: str  # of the layer in its model
    old: str  # class of the old norm
    channels: int  # of the norm
    replaced: bool = False  # False: the layer stays
    carried: tuple[str, ...] = ()  # parameters and statistics that the new layer takes over
    dropped: tuple[str, ...] = ()  # names that the new layer does not have
    initial: tuple[str, ...] = ()  # names that only the new layer has, at their initial values
    back: str | None = None  # name of the norm that restores the layer exactly; None: none does
    assumed: bool = False  # whether the first axis is assumed to be the samples


@dataclass(frozen=True)
class Replacement:
    """Result or, with `dry_run`, plan of :func:`replace_norms`."""

    norm: NormSpec  # the requested norm
    changes: tuple[LayerChange, ...]  # one for each norm layer, in the model's order
    standardized: tuple[str, ...]  # layers whose weights become standardized
    plain: tuple[str, ...]  # layers whose weights are no longer standardized
    weighted: int  # number of convolutions and linear layers of the model
    left: tuple[str, ...]  # layers of `keep=`, and layers of unknown kind that are called a norm
    dry_run: bool = False  # whether nothing was changed

    @property
    def replaced(self) -> tuple[str, ...]:
        """Names of the layers that were replaced."""
        return tuple(change.name for change in self.changes if change.replaced)

    @property
    def kept(self) -> tuple[str, ...]:
        """Names of the layers that already were the requested norm."""
        return tuple(change.name for change in self.changes if not change.replaced)

    @property
    def way_back(self) -> str | None:
        """Name of the norm that restores the network exactly, None if no norm does."""
        names = {change.back for change in self.changes if change.replaced}
        only = names.pop() if len(names) == 1 else None
        return only if len(self.replaced) == len(self.changes) else None

    def __str__(self) -> str:
        found = Counter(change.old for change in self.changes)
        kinds = ", ".join(f"{count} {kind}" for kind, count in found.items())
        dropped = "; ".join(_by_kind((change.old, change.dropped) for change in self.changes))
        initial = "; ".join(_by_kind((self.norm.name, change.initial) for change in self.changes))
        assumed = sum(change.assumed for change in self.changes)
        weights = f"of {self.weighted} layers"
        sentences: list[tuple[object, str]] = [
            (True, "dry run, nothing changed: " * self.dry_run
             + f"{self.norm}: {len(self.replaced)} norm layers replaced, {len(self.kept)} kept"
             + f" (of {kinds})" * bool(kinds)),
            (self.standardized, f"weights of {len(self.standardized)} {weights} standardized"),
            (self.plain, f"weights of {len(self.plain)} {weights} no longer standardized"),
            (dropped, f"dropped: {dropped}"),
            (initial, f"at initial values: {initial}"),
            (self.norm.nonlinear,
             f"{self.norm.name} is nonlinear itself, activations after it stay"),
            (self.left, f"kept on request or of unknown kind: {', '.join(self.left[:3])}"),
            (self.replaced, f"{self.way_back or 'no norm'} restores the network exactly"),
            (assumed, f"in {assumed} the first axis is assumed to be the samples"),
        ]  # fmt: skip
        return "; ".join(sentence for holds, sentence in sentences if holds)

    def table(self) -> str:
        """Return a line for each norm layer, and a summary."""
        header = ("layer", "from", "to", "carried", "dropped", "at initial values")
        rows = [
            (
                change.name,
                f"{change.old}({change.channels})",
                str(self.norm) if change.replaced else "kept",
                *(
                    _listed(names) or "-"
                    for names in (change.carried, change.dropped, change.initial)
                ),
            )
            for change in self.changes
        ]
        return f"{text_table([header, *rows])}\n\n{self}"


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

    Layers that already are the requested norm stay: our layers, and torch's for `bn`, `gn`, `ln`,
    `in` and `rms`, if they have the options of the spec. Every other layer is replaced by a new one
    with its device, dtype, mode, and all parameters, statistics and options that the new norm has
    (:func:`~ssl_norm.norms.swap.transfer_state.new_layer`). One batch norm can thus be swapped for
    another (representative, ghost, frozen, synchronized, domain) and back with the same state_dict
    and the same outputs in evaluation. The report names the norm that restores the network exactly,
    if there is one.

    A layer is recognized by its outputs (:func:`~ssl_norm.norms.swap.kinds.kind_of`): a subclass
    that does more than its norm is refused. A layer that ends in dropout and an activation (timm's
    BatchNormAct2d) keeps them. The model keeps its activations, also after frn and evonorm, which
    contain a nonlinearity; published networks have no other activation there. With channels last,
    as in ViT, all positions of a sample are space for the new norm, but `ln` and `rms` normalize
    each token, as torch's do.

    `+ws` standardizes the weights of every convolution and linear layer that a norm follows
    (:func:`~ssl_norm.norms.swap.find.layers_before_norms`); a spec without it undoes that.

    Args:
        model: changed in place, unless an error is raised.
        spec: as for :func:`ssl_norm.norms.make_norm`; `none` removes norms for good. The next swap
            finds a norm of your own only if it is a subclass of RuleNorm or of a norm of torch.
        example: an input batch of the model, with at least two samples on its first axis. The model
            runs on it once, in evaluation mode. This shows the axis of the samples in tokens, and
            the layers whose input is too small for the new norm.
        sample_axis: axis of the samples if channels are last: 0, or 1 in sequence-first tokens
            (L, N, C). None: derived from the example, or 0 without one; an error if parts of the
            model are sequence-first and there is no example of images.
        keep: names of norm layers that stay as they are.
        dry_run: change nothing; `print(replace_norms(model, spec, dry_run=True).table())`.

    Raises:
        ValueError: there is nothing to replace or to standardize, the model cannot be changed
            (TorchScript, DistributedDataParallel, prepare_qat, ...), or the layer that is named
            cannot be replaced (groups do not divide its channels, ...).
        TypeError: the norm has no such option.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64), nn.ReLU())
        >>> report = replace_norms(model, "gn+ws")
        >>> len(report.replaced), report.standardized, report.changes[0].dropped[:2]
        (1, ('0',), ('running_mean', 'running_var'))
    """
    parsed = parse_norm(spec).checked()
    norms = _changeable_norms(model, parsed)
    for name in keep:
        if name not in dict(norms):
            raise ValueError(unknown_name("norm layer in keep", name, dict(norms)))
    norms = [(name, layer) for name, layer in norms if name not in keep]
    weighted = _weighted_layers(model, parsed)
    steps = _steps(model, parsed, norms, example, sample_axis)
    names = tuple(name for name, _ in weighted)
    report = Replacement(
        norm=parsed,
        changes=tuple(steps[layer][0]._replace(name=name) for name, layer in norms),
        standardized=names if parsed.weight_standardization else (),
        plain=() if parsed.weight_standardization else names,
        weighted=sum(isinstance(layer, (nn.Linear, _ConvNd)) for layer in model.modules()),
        left=(*keep, *unknown_norms(model)),
        dry_run=dry_run,
    )
    if not dry_run:
        for name, layer in norms:
            _, new = steps[layer]
            if new is None:
                continue
            model.set_submodule(name, new)
            parent = model.get_submodule(name.rpartition(".")[0])
            if isinstance(parent, nn.TransformerEncoderLayer):
                # No fused kernel, which computes layer norm with the parameters of any norm.
                parent.activation_relu_or_gelu = 0
        for _, layer in weighted:
            (standardize_weights if parsed.weight_standardization else plain_weights)(layer)
    return report


def _weighted_layers(model: nn.Module, spec: NormSpec) -> list[tuple[str, nn.Module]]:
    """Return the layers whose weights must become standardized, or plain."""
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


def _changeable_norms(model: nn.Module, spec: NormSpec) -> list[tuple[str, nn.Module]]:
    """Return (name, layer) of every norm; raise ValueError if a part would ignore new norms."""
    for name, part in model.named_modules():
        kinds = {kind.__name__ for kind in type(part).__mro__}
        if isinstance(part, torch.jit.ScriptModule):
            reason = "is compiled TorchScript; replace the norms before torch.jit"
        elif not kinds.isdisjoint(WRAPPERS):
            reason = "has taken over the parameters; replace the norms before wrapping the model"
        elif not kinds.isdisjoint(QUANTIZERS):
            reason = "measures ranges for quantization; replace the norms before prepare_qat"
        else:
            continue
        where = f"part '{name}'" if name else "the model"
        raise ValueError(f"{where}, {type(part).__name__}, {reason}")
    norms, kind = named_norms(model), type(model).__name__
    if not norms and spec.name != "none":
        left = unknown_norms(model)
        hint = f"layers of unknown kind: {', '.join(left[:3])}" if left else "'none' describes it"
        raise ValueError(f"{kind} has no norm layer for '{spec}' to replace; {hint}")
    if "" in dict(norms):
        raise ValueError("the model is itself a norm layer; make_norm builds another")
    return norms


Step = tuple[LayerChange, nn.Module | None]  # None: the layer stays


def _steps(
    model: nn.Module,
    spec: NormSpec,
    norms: list[tuple[str, nn.Module]],
    example: Tensor | None,
    sample_axis: int | None,
) -> dict[nn.Module, Step]:
    """Return the plan for each norm layer; one step for a layer with two names."""
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(()))
    shapes = {} if example is None else _input_shapes(model, norms, example)
    sequence_first = any(getattr(part, "batch_first", True) is False for part in model.modules())
    # Unknown if the example may be sequence-first itself.
    samples = None if example is None or (sequence_first and example.ndim == 3) else len(example)
    steps: dict[nn.Module, Step] = {}
    for name, layer in norms:
        if layer in steps:
            continue
        with _naming(name):
            change = LayerChange(name, type(unwrapped(layer)).__name__, num_features(layer))
            new, shape = None, shapes.get(layer)
            if not _is_already(layer, spec):
                new, names = new_layer(layer, spec, like)
                back = _comes_back(layer, spec)
                change = change._replace(replaced=True, back=back, **names)
                adapters = (part for part in new.modules() if isinstance(part, ChannelsLast))
                adapter = next(adapters, None)
                if adapter is not None and not isinstance(layer, AroundNorm):  # else it is copied
                    axis = sample_axis if sample_axis is not None else _sample_axis(shape, samples)
                    if axis is None and sequence_first:
                        raise ValueError(SEQUENCE_FIRST)
                    adapter.sample_axis = axis or 0
                    change = change._replace(assumed=axis is None)
                if shape is not None:
                    _try_out(new, shape, like)
            steps[layer] = change, new
    return steps


def _sample_axis(shape: tuple[int, ...] | None, samples: int | None) -> int | None:
    """Return the axis of the samples in (N, *spatial, C) or (L, N, C), or None if unclear."""
    if shape is None or samples is None:
        return None
    first = shape[0] % samples == 0  # several windows of an image, for example
    second = len(shape) == 3 and shape[1] == samples
    return None if first == second else int(second)


@torch.no_grad()
def _input_shapes(
    model: nn.Module, norms: list[tuple[str, nn.Module]], example: Tensor
) -> dict[nn.Module, tuple[int, ...]]:
    """Return the shape of the input of each norm layer that the model calls with an example."""
    shapes: dict[nn.Module, tuple[int, ...]] = {}

    def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        shapes[layer] = tuple(inputs[0].shape)

    with evaluation_mode(model), ExitStack() as hooks:
        for _, layer in norms:
            hooks.enter_context(layer.register_forward_pre_hook(note))
        model(example)
    return shapes


@torch.no_grad()
def _try_out(new: nn.Module, shape: tuple[int, ...], like: Tensor) -> None:
    """Raise ValueError if a new norm refuses inputs of a shape."""
    tensor = next(iter(new.state_dict().values()), like)
    try:
        with evaluation_mode(new):
            new.forward(tensor.new_zeros(shape).to(like.dtype))
    except (ValueError, RuntimeError) as error:
        raise ValueError(str(error)) from error


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Prefix a ValueError with the name of the layer."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"layer '{name}': {error}") from error


def _comes_back(layer: nn.Module, spec: NormSpec) -> str | None:
    """Return the norm that turns a replaced layer back into exactly what it was, or None.

    This is tried on a copy with random values, in evaluation and in training.
    """
    name = kind_of(layer).name
    if name is None or spec.name == "none":
        return None
    original, like = twin_of(layer), torch.empty(())
    back, _ = new_layer(twin_of(layer), spec, like)
    if not _is_already(back, NormSpec(name)):  # otherwise the swap keeps it, as gn of one group
        try:
            back, _ = new_layer(back, NormSpec(name), like)
        except ValueError:  # a foreign norm that does not tell its channels
            return None
    for x, _ in probes(unwrapped(layer)):
        with suppress(Exception):  # a foreign forward may raise anything on this shape
            return name if difference(original, back, x) < TOLERANCE else None
    return None


def _is_already(layer: nn.Module, spec: NormSpec) -> bool:
    """Return whether a layer is the norm of the spec, so that it can stay."""
    norm = unwrapped(layer)
    if spec.constructor is not None or not _is_kind(norm, spec):
        return False
    wanted = {name: spec.option(name) for name in ("batch_size", "sync")} | {**spec.options}
    present = options_of(norm, wanted)
    return all(present.get(option) == value for option, value in wanted.items())


def _is_kind(norm: nn.Module, spec: NormSpec) -> bool:
    if isinstance(norm, nn.GroupNorm):
        return spec.name == ("ln" if norm.num_groups == 1 else "gn")
    if isinstance(norm, nn.SyncBatchNorm):
        return False
    kind = norm.thawed_class if isinstance(norm, FrozenStatistics) else type(norm)
    return kind is spec.cls or isinstance(norm, TORCH_KINDS.get(spec.name, ()))


def _listed(names: tuple[str, ...]) -> str:
    """Join names by commas, with `running statistics` for these together."""
    if set(names) & set(STATISTICS[:3]):
        names = tuple("running statistics" if name in STATISTICS else name for name in names)
    return ", ".join(dict.fromkeys(names))


def _by_kind(found: Iterable[tuple[str, tuple[str, ...]]]) -> list[str]:
    """Return a phrase for each kind of layer and the names it lost or gained, with their number."""
    counts = Counter((_listed(names), kind) for kind, names in found if names)
    return [f"{listed} of {count} {kind}" for (listed, kind), count in counts.items()]
