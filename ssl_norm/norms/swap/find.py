"""Norm layers of any model: search, options, and adapters around them."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm

from ssl_norm.norms.batch.batch_statistics import UNSHOWN, BatchStatisticsNorm
from ssl_norm.norms.core import Norm
from ssl_norm.norms.layers.whitening import WhiteningNorm

BATCH_NORMS = (_BatchNorm, BatchStatisticsNorm, WhiteningNorm)
TIMM_NONLINEAR = ("timm.layers.evo_norm", "timm.layers.filter_response_norm")  # modules
NORM_LAYERS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, Norm)
USUAL_OPTIONS = {"eps": 1e-5, "update_rate": 0.1, **UNSHOWN}  # of a batch norm
STATISTICS = ("running_mean", "running_var", "running_covariance", "num_batches_tracked")


class AroundNorm(nn.Module):
    """Base of layers that hold a norm as `norm`; their state_dict has the keys of the norm.

    A checkpoint therefore fits models with and without the wrapper.
    """

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.register_state_dict_post_hook(_lift_keys)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_lower_keys)  # type: ignore[no-untyped-call]


class NormAct(AroundNorm):
    """Norm, dropout and activation in this order, like timm's BatchNormAct2d."""

    def __init__(self, norm: nn.Module, drop: nn.Module, act: nn.Module) -> None:
        super().__init__(norm)
        self.drop = drop
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        """Return the activation of the normalized input."""
        y: Tensor = self.act(self.drop(self.norm(x)))
        return y


class ChannelsLast(AroundNorm):
    """A norm of (N, C, *spatial) tensors applied to (N, *spatial, C) ones, such as ViT's tokens.

    All axes except `sample_axis` and the last are space. `sample_axis` is 0, or 1 in sequence-first
    tokens (L, N, C).
    """

    def __init__(self, norm: nn.Module, sample_axis: int = 0) -> None:
        super().__init__(norm)
        self.sample_axis = sample_axis

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized input."""
        y: Tensor = self.norm(x.movedim((self.sample_axis, -1), (0, 1)))
        return y.movedim((0, 1), (self.sample_axis, -1))


class PerPosition(AroundNorm):
    """A norm of the last axis applied to axis 1 of (N, C, *spatial), like timm's LayerNorm2d."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized input."""
        y: Tensor = self.norm(x.movedim(1, -1))
        return y.movedim(-1, 1)


def unwrapped(layer: nn.Module) -> nn.Module:
    """Return the norm inside all wrappers."""
    while isinstance(layer, AroundNorm):
        layer = layer.norm
    return layer


def _lift_keys(layer: nn.Module, state: dict[str, Tensor], prefix: str, metadata: Any) -> None:
    """Remove `norm.` from the keys that the norm saved."""
    lower = f"{prefix}norm."
    for key in [key for key in state if key.startswith(lower)]:
        state[prefix + key.removeprefix(lower)] = state.pop(key)


def _lower_keys(layer: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Insert `norm.` into the keys that the norm loads."""
    children = {name for name, _ in layer.named_children()}
    for key in [key for key in state if key.startswith(prefix)]:
        name = key.removeprefix(prefix)
        if name.partition(".")[0] not in children:
            state[f"{prefix}norm.{name}"] = state.pop(key)


def is_norm(module: nn.Module) -> bool:
    """Return whether a module is a norm, wrapped or not.

    Torch's norms, ours and their subclasses are known by class. Other batch norms (torchvision's
    FrozenBatchNorm2d) are known by their running statistics, norms over the last axes or over
    channels (timm's RmsNorm) by their `normalized_shape`, and timm's evonorms and filter response
    norms by their module.
    """
    norm = unwrapped(module)
    return (
        isinstance(norm, NORM_LAYERS)
        or norm._buffers.keys() >= {"running_mean", "running_var"}
        or isinstance(getattr(norm, "normalized_shape", None), tuple)
        or type(norm).__module__ in TIMM_NONLINEAR
    )


def is_nonlinear(norm: nn.Module) -> bool:
    """Return whether a norm has a nonlinearity: an evonorm's gate or a thresholded linear unit."""
    if type(norm).__module__ in TIMM_NONLINEAR:
        return any(getattr(norm, name, None) is not None for name in ("v", "tau"))
    return getattr(norm, "nonlinear", False) and getattr(norm, "threshold", True) is not None


def named_norms(model: nn.Module, prefix: str = "") -> list[tuple[str, nn.Module]]:
    """Return (name, layer) of every norm with its wrappers, without norms inside a norm.

    A layer that the model holds under two names appears twice.
    """
    if is_norm(model):
        return [(prefix, model)]
    parts = ((f"{prefix}.{name}".lstrip("."), part) for name, part in model._modules.items())
    return [found for name, part in parts if part is not None for found in named_norms(part, name)]


def norm_kinds(model: nn.Module) -> str:
    """Return the number of norms of each class, such as `3 GroupNorm, 1 LayerNorm`, or `none`."""
    kinds = Counter(type(unwrapped(layer)).__name__ for _, layer in named_norms(model))
    return ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "none"


def unknown_norms(model: nn.Module) -> list[str]:
    """Return the names of layers of unknown kind whose class is called a norm and has weights."""
    inside = {part for _, layer in named_norms(model) for part in layer.modules()}
    return [
        name
        for name, module in model.named_modules()
        if "norm" in type(module).__name__.lower()
        and module not in inside
        and (module._parameters or module._buffers)
    ]


def layers_before_norms(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return (name, layer) of every convolution and linear layer that a norm follows.

    A norm follows such a layer if it is the next layer with weights in the order of registration,
    and has as many channels as the layer has outputs. A linear layer must also be in the same
    module as the norm (MLP heads, LeViT): between the last layer of a transformer's block and the
    next norm there is a residual sum, so the norm does not cancel the scale of the weights.
    """
    norms = dict(named_norms(model))
    found: list[tuple[str, nn.Module]] = []
    before: tuple[str, nn.Module] | None = None
    for name, module in model.named_modules():
        if name in norms:
            if before is not None and _precedes(*before, name, module):
                found.append(before)
            before = None
        elif module._parameters:
            before = (name, module)
    return found


def _precedes(name: str, layer: nn.Module, norm_name: str, norm: nn.Module) -> bool:
    """Return whether kind, size and place of a layer allow that the norm follows it."""
    if isinstance(layer, nn.Linear):
        same_module = name.rpartition(".")[0] == norm_name.rpartition(".")[0]
        return same_module and layer.out_features == num_features(norm)
    return isinstance(layer, _ConvNd) and layer.out_channels == num_features(norm)


@contextmanager
def batch_norm_calls(
    model: nn.Module, on_call: Callable[[str, nn.Module, Tensor, Tensor], None]
) -> Iterator[None]:
    """Call `on_call(name, norm, input, output)` at each call of a batch norm of a model."""

    def hook(name: str, norm: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        on_call(name, norm, inputs[0], output)

    with ExitStack() as stack:
        for name, module in model.named_modules():
            if isinstance(module, BATCH_NORMS):
                stack.enter_context(module.register_forward_hook(partial(hook, name)))
        yield


def keeps_batch_statistics(norm: nn.Module) -> bool:
    """Return whether a norm has population statistics of whole batches, not of instances."""
    return "running_mean" in norm._buffers and not isinstance(norm, _InstanceNorm)


def affine_of(norm: nn.Module) -> set[str]:
    """Return which of weight and bias a norm has, as parameters or constants."""
    return {name for name in ("weight", "bias") if isinstance(getattr(norm, name, None), Tensor)}


def num_features(layer: nn.Module) -> int:
    """Return the channels of a norm layer; raise ValueError if it does not tell them."""
    norm: Any = unwrapped(layer)
    if isinstance(norm, nn.GroupNorm):
        return norm.num_channels
    shape = elementwise_shape(norm)
    if shape:
        return int(shape[-1])
    channels = getattr(norm, "num_features", None)
    if channels is None:
        statistics = norm.running_mean if "running_mean" in norm._buffers else None
        tensor = statistics if statistics is not None else getattr(norm, "weight", None)
        channels = len(tensor) if isinstance(tensor, Tensor) else None
    if not channels:
        raise ValueError(
            f"this {type(norm).__name__} has no num_features, weight or running_mean, or none "
            "before its first input, so that its channels are unknown"
        )
    return int(channels)


def elementwise_shape(norm: nn.Module) -> tuple[int, ...]:
    """Return the sizes of the last axes that a layer norm normalizes, () for other norms."""
    shape = getattr(norm, "normalized_shape", ())
    return shape if isinstance(shape, tuple) else ()


def options_of(layer: nn.Module, names: Iterable[str]) -> dict[str, Any]:
    """Return the given options that a norm layer has; torch's options under our names.

    torch's BatchNorm without momentum has `update_rate` None and `population` cumulative.
    """
    norm: Any = unwrapped(layer)
    options: dict[str, Any] = {"affine": bool(affine_of(norm))}
    options |= {name: getattr(norm, name) for name in {*names} - {"affine"} if hasattr(norm, name)}
    if isinstance(options.get("threshold", 0), nn.Parameter | None):
        options["threshold"] = norm.threshold is not None
    if isinstance(norm, nn.GroupNorm):
        options["groups"] = norm.num_groups
    if isinstance(norm, _BatchNorm):
        options["update_rate"] = norm.momentum
        options["population"] = "ema" if norm.momentum is not None else "cumulative"
        options["sync"] = isinstance(norm, nn.SyncBatchNorm)
        options["evaluation"] = "population" if norm.track_running_stats else "batch"
    return {name: options[name] for name in names if name in options}
