"""Rules that standardize by pooled moments, compiled for CPUs: pooled.cpp.

Such a rule takes about 15 operations on tables (N, C), and its gradient about 30. On small maps
these cost more than the passes over memory, so one compiled call each way replaces them.
"""

from collections.abc import Callable, Sequence
from ctypes import Structure, byref, c_double, c_int64, c_void_p
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from ssl_norm.norms.kernels.native import SCALARS, pointers
from ssl_norm.norms.kernels.native_build import library
from ssl_norm.norms.kernels.tables import table_dtype
from ssl_norm.norms.kernels.tiling import ceil_divide

Method = TypeVar("Method", bound=Callable[..., Any])

PARAMETERS = ("weight", "bias", "center_weight", "scale_weight", "scale_bias")


class PooledRule(NamedTuple):
    """Rule whose moments are pooled over cells of the tables (N, C).

        centred = mean + center_weight * mean
        E, V = mean and biased variance of the values of a cell, from `centred` and variance
        deviation = centred - E
        gate = sigmoid(deviation * scale_weight / sqrt(V + eps) + scale_bias)
        scale = factor * weight * gate / sqrt(V + eps);  shift = bias + scale * (deviation - mean)

    Attributes:
        definition: maps mean, variance and the parameters to scale and shift, by operations that
            can be differentiated twice.
        parameters: weight, bias, center_weight, scale_weight and scale_bias, or the first of them,
            each (C,) or None; without scale_weight the gate is 1.
        samples: consecutive samples of a cell; the last cells may have fewer. None: all.
        eps: added to V.
        channels: consecutive channels of a cell.
        factor: constant factor of the scale.
        observe: takes N, and E and V, each (K, C), of the K cells of a channel.
    """

    definition: Callable[..., tuple[Tensor, Tensor]]
    parameters: tuple[Tensor | None, ...]
    samples: int | None
    eps: float
    channels: int = 1
    factor: float = 1.0
    observe: Callable[[int, Tensor, Tensor], None] | None = None

    def takes(self, x: Tensor) -> bool:
        """Return whether the compiled rule runs on the tables of x, a plain tensor on a CPU."""
        plain = all(
            type(p) in (Tensor, nn.Parameter) and p.device == x.device and p.shape == x.shape[1:2]
            for p in self.parameters
            if p is not None
        )
        return plain and _library(table_dtype(x)) is not None

    def coefficients(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, ...]:
        """Return scale, shift, gate (empty without one), E and V."""
        rows, channels = mean.shape
        cells = ceil_divide(rows, self.samples or rows)
        scale, shift = torch.empty_like(mean), torch.empty_like(mean)
        gated = len(self.parameters) > 3 and self.parameters[3] is not None
        gate = torch.empty_like(mean) if gated else mean.new_empty(0)
        E, V = mean.new_empty(2, cells, channels)
        rule, _kept = self._rule(mean, self.parameters)
        addresses = pointers(mean, variance, scale, shift, gate, E, V)
        _library(mean.dtype).ssl_norm_coefficients(rule, *addresses)
        if self.observe is not None:
            self.observe(rows, E, V)
        return scale, shift, gate, E, V

    def gradients(
        self, parameters: tuple[Tensor | None, ...], mean: Tensor, *tables: Tensor
    ) -> tuple[Tensor | None, ...]:
        """Return the gradients of mean, variance and the parameters.

        Args:
            parameters: those of the forward pass.
            mean: instance means (N, C).
            *tables: scale, gate, E, V, and the gradients of scale and shift.
        """
        d_mean, d_variance = torch.empty_like(mean), torch.empty_like(mean)
        d_parameters = mean.new_empty(len(PARAMETERS), mean.shape[1])
        rule, _kept = self._rule(mean, parameters)
        addresses = pointers(mean, *tables, d_mean, d_variance, d_parameters)
        _library(mean.dtype).ssl_norm_coefficient_gradients(rule, *addresses)
        pairs = zip(d_parameters, parameters, strict=False)
        return d_mean, d_variance, *(None if p is None else d.to(p.dtype) for d, p in pairs)

    def _rule(self, mean: Tensor, parameters: Sequence[Tensor | None]) -> tuple[Any, Any]:
        """Return the address of the C struct, and the tensors that it points to."""
        kept = [
            p if p is None or _fits(p, mean) else p.detach().to(mean.dtype).contiguous()
            for p in parameters
        ]
        sizes = (*mean.shape, self.samples or len(mean), self.channels)
        addresses = (None if p is None else p.data_ptr() for p in kept)
        return byref(_Rule(*sizes, self.eps, self.factor, *addresses)), kept


def compiled_by(
    make: Callable[[Any], PooledRule | None], *replaced: str
) -> Callable[[Method], Method]:
    """Return a decorator of the `rule` of a norm, which gives it a compiled equivalent.

    Args:
        make: takes the norm.
        *replaced: methods that `rule` calls and the compiled rule does not. A norm that overrides
            one of them, or `rule`, runs without the compiled rule.
    """

    def decorate(rule: Method) -> Method:
        def compiled(norm: Any) -> PooledRule | None:
            owner = next(kind for kind in type(norm).__mro__ if vars(kind).get("rule") is rule)
            used = ((getattr(norm, name), getattr(owner, name)) for name in replaced)
            same = all(getattr(method, "__func__", None) is own for method, own in used)
            return make(norm) if same else None

        vars(rule)["compiled"] = compiled
        return rule

    return decorate


class _Rule(Structure):
    _fields_ = [
        *((name, c_int64) for name in ("rows", "channels", "samples", "width")),
        *((name, c_double) for name in ("eps", "factor")),
        *((name, c_void_p) for name in PARAMETERS),
    ]


def _fits(parameter: Tensor, mean: Tensor) -> bool:
    return parameter.dtype == mean.dtype and parameter.is_contiguous()


def _library(dtype: torch.dtype) -> Any:
    return library("pooled.cpp", SCALAR=SCALARS[dtype])
