"""Kind of a norm layer, derived from its outputs: its name, its channel axis, its options."""

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules import batchnorm, instancenorm, normalization
from torch.nn.modules.dropout import _DropoutNd

from ssl_norm.norms.core import Norm
from ssl_norm.norms.registry import NORMS
from ssl_norm.norms.spec import NormSpec
from ssl_norm.norms.swap.find import (
    AroundNorm,
    ChannelsLast,
    PerPosition,
    elementwise_shape,
    num_features,
    options_of,
    unwrapped,
)

TORCH_KINDS: Mapping[str, type[nn.Module]] = {
    "bn": batchnorm._BatchNorm,
    "in": instancenorm._InstanceNorm,
    "ln": nn.LayerNorm,
    "gn": nn.GroupNorm,
    "rms": nn.RMSNorm,
}
TORCH_MODULES = (batchnorm.__name__, instancenorm.__name__, normalization.__name__)
HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
)
TOLERANCE = 2e-5  # of the largest output; float32, on values of 1 +- 2
BY_HAND = "replace this layer by hand, or exclude it by keep="
Forward = Callable[[nn.Module, Tensor], Tensor]


class Kind(NamedTuple):
    """Name, options and axes of a norm layer."""

    name: str | None  # of `NORMS`; None: a norm that is not there
    options: Mapping[str, Any]  # those that are not the defaults of that name
    channels_last: bool = False  # whether channels are the last axis, not axis 1
    sample_axis: int | None = None  # if channels are last; None: not known
    per_position: bool = False  # whether positions are separate, with channels in axis 1


def kind_of(layer: nn.Module) -> Kind:
    """Return the kind of a norm layer.

    If the forward pass of a layer is not torch's or ours, the layer runs on random inputs. Its
    outputs must agree with those of the norm that its class or its contents suggest, followed by
    its `drop` and `act`.

    Raises:
        ValueError: it computes something else, or normalizes several axes, as LayerNorm((C, H, W)).
    """
    norm = unwrapped(layer)
    known = _known_class(norm)
    name = None if known is None else _name(norm, known)
    defaults = {} if name is None else NormSpec(name).all_options
    options = {
        option: value
        for option, value in options_of(norm, defaults).items()
        if value is not None and value != defaults[option]
    }
    shape = elementwise_shape(norm)
    if len(shape) > 1:
        raise ValueError(f"this {type(norm).__name__} normalizes several axes, {shape}; {BY_HAND}")
    if isinstance(layer, AroundNorm):
        around = [part for part in layer.modules() if isinstance(part, AroundNorm)]
        axes = [part.sample_axis for part in around if isinstance(part, ChannelsLast)]
        per_position = any(isinstance(part, PerPosition) for part in around)
        channels_last = bool(axes) or (bool(shape) and not per_position)
        return Kind(name, options, channels_last, axes[0] if axes else None, per_position)
    if known is None and (isinstance(norm, Norm) or not (shape or "running_mean" in norm._buffers)):
        return Kind(None, {})  # a norm of the user, or one of timm's evonorms
    forward = getattr(norm.forward, "__func__", None)
    if known is not None and forward is known.forward:
        return Kind(name, options, channels_last=bool(shape))
    found, channels_last = _by_trial(norm, known)
    per_position = bool(shape) and not channels_last
    return Kind(name or found, options, channels_last, per_position=per_position)


def _known_class(norm: nn.Module) -> type[nn.Module] | None:
    """Return the first class in a layer's hierarchy that is torch's or in the registry."""
    for kind in type(norm).__mro__:
        if kind.__module__ in TORCH_MODULES and "forward" in dir(kind):
            return kind
        if issubclass(kind, nn.Module) and _registered(kind):
            return kind
    return None


def _registered(kind: type) -> str | None:
    places = (kind, f"{kind.__module__}:{kind.__qualname__}")
    return next((name for name in NORMS if NORMS[name] in places), None)


def _name(norm: nn.Module, known: type[nn.Module]) -> str | None:
    """Return the name of the norm that computes the same; None for a subclass with its own rule."""
    name = _registered(known)
    if name is not None:
        same_rule = getattr(type(norm), "rule", None) is getattr(known, "rule", None)
        return name if same_rule else None
    if isinstance(norm, nn.GroupNorm) and norm.num_groups == 1:
        return "ln"
    return next(name for name, kind in TORCH_KINDS.items() if isinstance(norm, kind))


def twin_of(module: nn.Module) -> nn.Module:
    """Return a copy on the CPU without hooks, in float32, with random values."""
    hooks = (vars(part).get(name) for part in module.modules() for name in HOOKS)
    without = {id(found): OrderedDict[int, Any]() for found in hooks if found is not None}
    try:
        twin = copy.deepcopy(module, without)
    except RuntimeError as error:  # its weights are computed
        raise ValueError(f"cannot copy this {type(module).__name__}: {error}") from error
    tensors = [*twin.parameters(), *twin.buffers()]
    twin = (twin.to_empty if any(t.is_meta for t in tensors) else twin.to)(device="cpu").float()
    chance = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in (*twin.named_parameters(), *twin.named_buffers()):
            if value.is_floating_point():
                is_square, is_variance = name.endswith("covariance"), name.endswith("var")
                random = torch.rand(value.shape, generator=chance) + (is_square or is_variance) / 2
                value.copy_(torch.diag_embed(random[..., 0]) if is_square else 2 * random - 0.5)
            else:
                value.fill_(1)  # as if a batch was seen, so that `act` does not ask other ranks
    for part in twin.modules():
        if "sync" in vars(part):
            vars(part)["sync"] = False  # other ranks may not be here
    return twin


def probes(norm: nn.Module) -> Iterator[tuple[Tensor, bool]]:
    """Yield random inputs that a norm may take, and whether their channels are the last axis."""
    shape, channels = elementwise_shape(norm), num_features(norm)
    side = 3 if channels != 3 else 5
    spaces = (side,) * 2, (side,)
    if shape:  # (4, C) would leave the axis of the channels open
        shapes = [((4, channels, *space), False) for space in spaces]
        shapes += [((4, *space, channels), True) for space in spaces]
    else:
        shapes = [((4, channels, *space), False) for space in (*spaces, (), (side,) * 3)]
    for shape, channels_last in shapes:
        yield 1 + 2 * torch.randn(shape, generator=torch.Generator().manual_seed(1)), channels_last


def difference(one: nn.Module, other: nn.Module | Forward, x: Tensor) -> float:
    """Return the largest difference in evaluation and training, as a share of the largest output.

    `other` is a module, or a function of `one` and the input. Statistics of `one` change.
    """
    worst = 0.0
    modes = (False,) if isinstance(unwrapped(one), nn.SyncBatchNorm) else (False, True)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for mode in modes:
            for module in (one, other):
                for part in module.modules() if isinstance(module, nn.Module) else ():
                    part.training = mode and not isinstance(part, _DropoutNd)
            y = one(x.clone())
            expected = other(x) if isinstance(other, nn.Module) else other(one, x)
            if y.shape != expected.shape:
                return float("inf")
            distance = (y - expected).abs().max() / expected.abs().max().clamp(min=1e-3)
            worst = max(worst, float(distance.nan_to_num(torch.inf)))
    return worst


def _by_trial(norm: nn.Module, known: type[nn.Module] | None) -> tuple[str | None, bool]:
    """Return the name of the norm that computes the same, and whether channels are last."""
    found, error = float("inf"), ""
    twin = twin_of(norm)
    for x, channels_last in probes(norm):
        for name, reference in _references(norm, known, channels_last).items():
            try:
                distance = difference(twin, _with_activation(reference), x)
            except Exception as failure:  # a foreign forward may raise anything
                error = str(failure).partition("\n")[0]
                continue
            if distance < TOLERANCE:
                return name, channels_last
            found = min(found, distance)
    what = known.__name__ if known is not None else "norm that its contents suggest"
    how = f"{found:.2g} of the largest output on random input" if found < 1e9 else error
    raise ValueError(
        f"the forward pass of this {type(norm).__name__} is not that of a {what} ({how}); {BY_HAND}"
    )


def _references(
    norm: nn.Module, known: type[nn.Module] | None, channels_last: bool
) -> dict[str | None, Forward]:
    """Return the candidates for a layer by name; the key None is a norm without a name."""
    shape = elementwise_shape(norm)
    if known is not None and not shape:
        return {None: known.forward}
    if not shape:
        return {"frozen": _frozen, "bn": _batch_norm}

    def layer_norm(layer: Any, x: Tensor) -> Tensor:
        return F.layer_norm(x, shape, layer.weight, getattr(layer, "bias", None), layer.eps)

    def rms_norm(layer: Any, x: Tensor) -> Tensor:
        bias = getattr(layer, "bias", None)
        return F.rms_norm(x, shape, layer.weight, layer.eps) + (0 if bias is None else bias)

    def simple_norm(layer: Any, x: Tensor) -> Tensor:  # timm's; does not subtract the mean
        scale: Tensor = (x.var(-1, keepdim=True) + layer.eps).rsqrt()
        return x * scale * (1 if layer.weight is None else layer.weight)

    def trailing(forward: Forward) -> Forward:
        if channels_last:
            return forward
        return lambda layer, x: forward(layer, x.movedim(1, -1)).movedim(-1, 1)

    names = {"ln": trailing(layer_norm), "rms": trailing(rms_norm), None: trailing(simple_norm)}
    if known is None:
        return names
    wanted = "ln" if known is nn.LayerNorm else "rms"
    return {wanted: names[wanted]}


def _frozen(layer: Any, x: Tensor) -> Tensor:
    return F.batch_norm(
        x, layer.running_mean, layer.running_var, layer.weight, layer.bias, eps=layer.eps
    )


def _batch_norm(layer: Any, x: Tensor) -> Tensor:
    moments = layer.running_mean.clone(), layer.running_var.clone()
    return F.batch_norm(x, *moments, layer.weight, layer.bias, layer.training, eps=layer.eps)


def _with_activation(forward: Forward) -> Forward:
    """Return a forward pass followed by the layer's dropout and activation."""

    def activated(layer: nn.Module, x: Tensor) -> Tensor:
        y = forward(layer, x)
        for name in ("drop", "act"):
            part = getattr(layer, name, None)
            y = part(y) if isinstance(part, nn.Module) else y
        return y

    return activated
