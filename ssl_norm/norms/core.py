"""Base classes of norms, and the passes over memory that any norm needs.

A norm that treats channels separately or in groups is an affine map per instance and channel,

    y[n, c, :] = scale[n, c] * x[n, c, :] + shift[n, c],

whose coefficients depend on x only through the instance moments: mean[n, c] and variance[n, c] over
space. So a norm is a *rule* (mean, variance) -> (scale, shift) on tables (N, C). :func:`normalize`
does the rest in two passes over x forward and two backward, the cost of batch norm:

    forward   x -> mean, variance;  the rule;  x -> y
    backward  dy, x -> d_scale = sum dy x, d_shift = sum dy
              autograd through the rule -> d_mean, d_variance
              dy, x -> dx = scale dy + (d_mean + 2 (x - mean) d_variance) / positions

The rule runs under ordinary autograd, once per call: it may use any parameters, keep statistics and
communicate with other processes. On a CPU with a C++ compiler, a rule that only pools moments runs
compiled, with its gradient (:class:`ssl_norm.norms.kernels.pooled.PooledRule`). A norm with a
nonlinearity replaces the affine map by another :class:`Map`; this takes two passes each way if the
map is compiled, and plain operations otherwise.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, NamedTuple

import torch
from annotated_types import Interval
from torch import Tensor, nn
from torch.autograd import Function, forward_ad

from ssl_norm.norms.input_checks import check_channels
from ssl_norm.norms.kernels import dispatch, native
from ssl_norm.norms.kernels.dispatch import passes_for
from ssl_norm.norms.kernels.pooled import PooledRule
from ssl_norm.norms.kernels.tables import over_space, space_axes, table_dtype

Rule = Callable[[Tensor, Tensor], tuple[Tensor, ...]]
# Below, gradients of constant channels overflow; above, outputs vanish.
Eps = Annotated[float, Interval(ge=1e-12, le=1e3)]


class Map(NamedTuple):
    """Function of x and of tables (N, C), which broadcast to x."""

    definition: Callable[..., Tensor]
    compiled: native.Passes  # the same function, compiled from passes.cpp
    kept: int  # number of leading tables that the gradients depend on


AFFINE = Map(lambda x, scale, shift: scale * x + shift, dispatch.AFFINE, 1)


def normalize(x: Tensor, rule: Rule, of: Map = AFFINE) -> Tensor:
    """Return scale * x + shift, where `rule` makes the coefficients from the instance moments.

    Args:
        x: (N, C) or (N, C, *spatial), floating point; not altered.
        rule: maps mean and biased variance over space, each (N, C), to scale and shift, each (N, C)
            or broadcastable to it. All four are float32, or wider if x is. For x (N, C), the mean
            is x and the variance 0.
        of: another map, whose tables the rule returns.

    Returns:
        Like x, in its memory format.

    Example:
        >>> def instance_norm(mean, variance):
        ...     scale = (variance + 1e-5).rsqrt()
        ...     return scale, -mean * scale
        >>> y = normalize(torch.randn(8, 3, 32, 32), instance_norm)
        >>> bool(y.mean((2, 3)).abs().max() < 1e-5)
        True
    """
    if x.ndim < 2 or 0 in x.shape[1:]:
        raise ValueError(f"expected an input of shape (N, C, *spatial), got {tuple(x.shape)}")
    plain = x.ndim == 2 or len(x) == 0 or is_transformed()
    passes = None if plain else passes_for(x, of.compiled)
    if passes is None:
        return _normalize_by_autograd(x, rule, of)
    make = getattr(rule, "compiled", None) if passes is dispatch.AFFINE else None
    pooled = None if make is None else make(rule.__self__)  # type: ignore[attr-defined]
    y: Tensor
    if pooled is not None and pooled.takes(x):
        y = _PooledNorm.apply(x, passes, pooled, *pooled.parameters)
    else:
        mean, variance, *carriers = _InstanceMoments.apply(x, passes, of)
        tables = (table.to(mean.dtype).expand_as(mean) for table in rule(mean, variance))
        y = _PointwiseMap.apply(x, mean.detach(), passes, of, *carriers, *tables)
    return y


def instance_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance over space of x (N, C, *spatial), without gradients."""
    x = x.detach()
    if x.ndim == 2 or len(x) == 0 or is_transformed():
        return _moments_by_autograd(x.to(table_dtype(x)))
    mean, variance = passes_for(x).instance_moments(x)
    return mean, variance


class Norm(nn.Module):
    """Base of norm layers: declarations, channels, eps, weight and bias.

    Args:
        num_features: channels C.
        eps: added to the variance, inside the root.
        affine: whether to learn weight and bias, each (C,), from 1 and 0.

    Shape:
        (N, C) or (N, C, *spatial) to the same, in the dtype of the input; statistics and products
        are float32, or wider if the input or the norm is. An empty batch stays empty; its batch
        statistics are an error.
    """

    equation: ClassVar[str] = ""  # one line for the table of norms
    mixes_samples: ClassVar[bool] = False  # whether training mixes the samples of a batch
    vectors: ClassVar[bool] = True  # whether it takes (N, C) inputs, as in MLP heads
    nonlinear: ClassVar[bool] = False  # whether it replaces a norm and the activation after it
    # The subset of weight and bias that the norm uses. Only these are created, since
    # DistributedDataParallel refuses a parameter without a gradient.
    affine_parameters: ClassVar[tuple[str, ...]] = ("weight", "bias")
    printed: ClassVar[tuple[str, ...]] = ("eps", "affine")  # options in the printed module

    weight: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(self, num_features: int, *, eps: Eps = 1e-5, affine: bool = True) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        for name, initial in (("weight", torch.ones), ("bias", torch.zeros)):
            used = affine and name in self.affine_parameters
            self.register_parameter(name, nn.Parameter(initial(num_features)) if used else None)

    def times_weight(self, scale: Tensor) -> Tensor:
        """Return a scale times the weight, if there is one."""
        return scale if self.weight is None else scale * self.weight

    def plus_bias(self, shift: Tensor) -> Tensor:
        """Return a shift plus the bias, if there is one."""
        return shift if self.bias is None else shift + self.bias

    def coefficients(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scale and shift that standardize, then apply weight and bias."""
        return affine_coefficients(mean, variance, self.eps, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Return the channels and the options that the printed module shows."""
        return self.shown(*self.printed)

    def shown(self, *options: str) -> str:
        """Return the channels and the values of options as text."""
        affine = self.weight is not None or self.bias is not None
        values = ((name, affine if name == "affine" else getattr(self, name)) for name in options)
        return ", ".join([str(self.num_features), *(f"{name}={value}" for name, value in values)])


class RuleNorm(Norm):
    """Norm that a subclass defines by its :meth:`rule`; `affine_parameters` are none by default.

    Example:
        >>> class InstanceNorm(RuleNorm):
        ...     def rule(self, mean, variance):
        ...         return self.coefficients(mean, variance)
        >>> InstanceNorm(3)(torch.randn(8, 3, 32, 32)).shape
        torch.Size([8, 3, 32, 32])
    """

    affine_parameters: ClassVar[tuple[str, ...]] = ()

    def rule(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return scale and shift from the instance moments (N, C); see :func:`normalize`."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized input."""
        check_channels(x, self.num_features)
        return normalize(x, self.rule)


def affine_coefficients(
    mean: Tensor, variance: Tensor, eps: float, weight: Tensor | None, bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the scale and shift of y = weight (x - mean) / sqrt(variance + eps) + bias."""
    scale = (variance + eps).rsqrt()
    if weight is not None:
        scale = scale * weight
    shift = -mean * scale
    return scale, shift if bias is None else shift + bias


def is_transformed() -> bool:
    """Return whether a compiler, torch.func or forward-mode differentiation sees the operations."""
    return (
        torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
    )


def by_autograd(*tensors: Tensor) -> bool:
    """Return whether a graph or a transformation (is_grads_batched) needs plain operations."""
    batched = map(torch._C._functorch.is_legacy_batchedtensor, tensors)
    return torch.is_grad_enabled() or is_transformed() or any(batched)


def _normalize_by_autograd(x: Tensor, rule: Rule, of: Map) -> Tensor:
    """Compute :func:`normalize` by plain operations, for (N, C) inputs and transformations."""
    values = x.to(table_dtype(x))
    mean, variance = _moments_by_autograd(values)
    tables = (over_space(t.to(mean.dtype).expand_as(mean), x) for t in rule(mean, variance))
    return of.definition(values, *tables).to(x.dtype)


def _moments_by_autograd(x: Tensor) -> tuple[Tensor, Tensor]:
    if x.ndim == 2:
        return x, torch.zeros_like(x)
    mean = x.mean(space_axes(x))
    return mean, (x - over_space(mean, x)).square().mean(space_axes(x))


class _PooledNorm(Function):
    """x and the parameters of a compiled rule -> y; see :class:`PooledRule`."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, passes: Any, rule: PooledRule, *parameters: Tensor | None
    ) -> Tensor:
        mean, variance = passes.instance_moments(x)
        scale, shift, *kept = rule.coefficients(mean, variance)
        ctx.save_for_backward(x, *parameters, mean, scale, *kept)
        ctx.passes, ctx.rule = passes, rule
        y: Tensor = passes.pointwise_map(x, scale, shift)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, *rest = ctx.saved_tensors
        count = len(ctx.rule.parameters)
        parameters, (mean, scale, *kept) = rest[:count], rest[count:]
        if by_autograd(dy):
            dx, *gradients = _pooled_gradients_by_autograd(ctx.rule, dy, x, parameters)
        else:
            d_tables = ctx.passes.map_gradients(dy, x, mean, scale)
            d_mean, d_variance, *gradients = ctx.rule.gradients(
                parameters, mean, scale, *kept, *d_tables
            )
            dx = ctx.passes.input_gradient(dy, x, mean, d_mean, d_variance, scale)
        return dx, None, None, *gradients


def _pooled_gradients_by_autograd(
    rule: PooledRule, dy: Tensor, x: Tensor, parameters: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """Return the gradients of x and of the parameters, with their graph."""
    with torch.enable_grad():
        # Views, so that each gradient excludes the dependence of one input on another.
        inputs = [
            t if t is None else t.view_as(t) if t.requires_grad else t.detach().requires_grad_()
            for t in (x, *parameters)
        ]
        values, *rest = inputs
        assert values is not None
        y = _normalize_by_autograd(values, lambda *tables: rule.definition(*tables, *rest), AFFINE)
        present = [t for t in inputs if t is not None]
        found = iter(torch.autograd.grad(y, present, dy, create_graph=True))
    return [None if t is None else next(found) for t in inputs]


class _InstanceMoments(Function):
    """x -> mean, variance and empty outputs that carry dy and tables back from `_PointwiseMap`.

    The gradients of the empty outputs are dy and the tables, so that the whole gradient of x is
    formed here in one pass, after the rule's backward.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, passes: Any, of: Map) -> tuple[Tensor, ...]:
        mean, variance = passes.instance_moments(x)
        ctx.save_for_backward(x, mean)
        ctx.set_materialize_grads(False)
        ctx.passes, ctx.of = passes, of
        like = (x, *(mean for _ in range(of.kept)))
        return mean, variance, *(t.new_empty(()).expand_as(t) for t in like)

    @staticmethod
    def backward(
        ctx: Any, d_mean: Tensor | None, d_variance: Tensor | None, dy: Tensor | None, *kept: Tensor
    ) -> tuple[Tensor, None, None]:
        x: Tensor
        mean: Tensor
        x, mean = ctx.saved_tensors
        zeros = mean.new_zeros(()).expand_as(mean)
        d_mean, d_variance = (zeros if d is None else d for d in (d_mean, d_variance))
        if dy is not None and not by_autograd(dy):
            full: Tensor = ctx.passes.input_gradient(dy, x, mean, d_mean, d_variance, *kept)
            return full, None, None
        values = x.to(mean.dtype)
        deviation = values - values.mean(space_axes(x), keepdim=True)
        dx = over_space(d_mean, x) + 2 * deviation * over_space(d_variance, x)
        dx = dx / x[0, 0].numel()
        if dy is not None:
            dx = dx + _gradients_by_autograd(ctx.of, dy, x, *kept)[0]
        return dx.to(x.dtype), None, None


class _PointwiseMap(Function):
    """x and tables -> their map; the gradient of x is left to `_InstanceMoments`."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, mean: Tensor, passes: Any, of: Map, *carriers_and_tables: Tensor
    ) -> Tensor:
        tables = carriers_and_tables[1 + of.kept :]
        ctx.save_for_backward(x, mean, *tables[: of.kept])
        ctx.passes, ctx.of = passes, of
        y: Tensor = passes.pointwise_map(x, *tables)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, *kept = ctx.saved_tensors
        if by_autograd(dy):
            gradients = _gradients_by_autograd(ctx.of, dy, x, *kept)[1:]
        else:
            gradients = ctx.passes.map_gradients(dy, x, mean, *kept)
        return None, None, None, None, dy, *kept, *gradients


def _gradients_by_autograd(of: Map, dy: Tensor, x: Tensor, *kept: Tensor) -> tuple[Tensor, ...]:
    """Return the gradients of x and of all tables, in the dtype of these, with their graph."""
    missing = [torch.zeros_like(kept[0]) for _ in range(of.compiled.tables - len(kept))]
    with torch.enable_grad():
        # Views, so that the gradient of x excludes the dependence of the tables on x.
        values, *tables = (
            t.view_as(t) if t.requires_grad else t.detach().requires_grad_()
            for t in (x.to(kept[0].dtype), *kept, *missing)
        )
        y = of.definition(values, *(over_space(table, x) for table in tables))
        return torch.autograd.grad(y, (values, *tables), dy.to(y.dtype), create_graph=True)
