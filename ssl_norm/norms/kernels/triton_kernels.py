"""The four passes of :mod:`ssl_norm.norms.kernels.tiled` as Triton kernels.

Inputs that are neither contiguous nor channels-last are copied, and so is a gradient whose order in
memory differs from that of x. Sums are in float32, or wider if the input is.
"""

import functools
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from ssl_norm.norms.kernels.tables import dense, ordered, table_dtype
from ssl_norm.norms.kernels.tiling import TILE_ELEMENTS, Tiling, ceil_divide, power_of_2, tiling
from ssl_norm.norms.kernels.triton_device_code import (
    affine_gradients_kernel,
    affine_kernel,
    input_gradient_kernel,
    merge_kernel,
    moments_kernel,
)

WARPS = 8
PROGRAMS_PER_MULTIPROCESSOR = 2  # one computes while the other waits for memory


def instance_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance over space of (N, C, *spatial), each (N, C)."""
    x, channels_last = dense(x)
    plan = tiling(x.shape, x.element_size(), channels_last, _programs_to_fill(x.device))
    sizes = (plan.spans, *x.shape[:2]) if plan.spans > 1 else x.shape[:2]
    mean, variance = (x.new_empty(sizes, dtype=table_dtype(x)) for _ in range(2))
    _launch(moments_kernel, plan.programs, x, mean, variance, *plan)
    return _merge(mean, variance, plan) if plan.spans > 1 else (mean, variance)


def pointwise_map(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return scale * x + shift, like x (N, C, *spatial); the tables are (N, C)."""
    x, channels_last = dense(x)
    plan = tiling(x.shape, x.element_size(), channels_last, 0)
    y = torch.empty_like(x)
    _launch(affine_kernel, plan.programs, x, y, *_strided(scale, shift), *plan)
    return y


def map_gradients(dy: Tensor, x: Tensor, mean: Tensor, _scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sums over space of dy * x and of dy, each (N, C); the first about the mean."""
    x, channels_last = dense(x)
    dy, mean = ordered(dy, channels_last), mean.contiguous()
    plan = tiling(x.shape, x.element_size(), channels_last, _programs_to_fill(x.device))
    sums = mean.new_empty(2, plan.spans, *mean.shape)
    _launch(affine_gradients_kernel, plan.programs, dy, x, mean, *sums.unbind(), *plan)
    d_scale, d_shift = (sums.sum(1) if plan.spans > 1 else sums[:, 0]).unbind()
    return d_scale, d_shift


def input_gradient(
    dy: Tensor, x: Tensor, mean: Tensor, d_mean: Tensor, d_variance: Tensor, scale: Tensor
) -> Tensor:
    """Return scale * dy + (d_mean + 2 (x - mean) d_variance) / positions, like x."""
    x, channels_last = dense(x)
    dy = ordered(dy, channels_last)
    plan = tiling(x.shape, x.element_size(), channels_last, 0)
    dx = torch.empty_like(x)
    tables = _strided(scale, mean, d_mean, d_variance)
    _launch(input_gradient_kernel, plan.programs, dy, x, dx, *tables, *plan)
    return dx


def _merge(means: Tensor, variances: Tensor, plan: Tiling) -> tuple[Tensor, Tensor]:
    """Return the moments, each (N, C), from those of the spans, each (spans, N, C)."""
    mean, variance = torch.empty_like(means[0]), torch.empty_like(variances[0])
    spans = power_of_2(plan.spans)
    rows = min(power_of_2(plan.instances), max(1, TILE_ELEMENTS // spans))
    sizes = (plan.instances, plan.positions, plan.span, spans, rows)
    programs = ceil_divide(plan.instances, rows)
    _launch(merge_kernel, programs, means, variances, mean, variance, *sizes)
    return mean, variance


def _launch(kernel: Any, programs: int, first: Tensor, *arguments: Tensor | int) -> None:
    """Run a kernel on the device of its first argument; Triton's default is the current device."""
    with torch.cuda.device(first.device) if first.is_cuda else nullcontext():
        # enable_fp_fusion is the default of most versions of Triton, not of all.
        kernel[(programs,)](first, *arguments, num_warps=WARPS, enable_fp_fusion=True)


def _strided(*tables: Tensor) -> list[Tensor | int]:
    """Return each table (N, C) followed by its strides."""
    arguments: list[Tensor | int] = []
    for table in tables:
        arguments += [table, *table.stride()]
    return arguments


@functools.cache
def _programs_to_fill(device: torch.device) -> int:
    """Return the number of programs that fill a device; 1 for the CPU of Triton's interpreter."""
    if device.type == "cpu":
        return 1
    multiprocessors: int = torch.cuda.get_device_properties(device).multi_processor_count
    return PROGRAMS_PER_MULTIPROCESSOR * multiprocessors
