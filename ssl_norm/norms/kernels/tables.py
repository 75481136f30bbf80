"""Tables (N, C): one number for each instance and channel of an input (N, C, *spatial)."""

import torch
from torch import Tensor


def table_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype of an input's tables: float32, or wider if the input is."""
    return torch.promote_types(x.dtype, torch.float32)


def widest_dtype(x: Tensor) -> torch.dtype:
    """Return float64, or float32 on a device without it."""
    return torch.float32 if x.device.type == "mps" else torch.float64


def kernel_takes(x: Tensor, table: Tensor | None) -> bool:
    """Return whether the kernels of torch take an input with the dtype of weights or statistics."""
    half = x.dtype in (torch.float16, torch.bfloat16)
    return table is None or table.dtype == x.dtype or (half and table.dtype == torch.float32)


def space_axes(x: Tensor) -> tuple[int, ...]:
    """Return the axes of (N, C, *spatial) that are space."""
    return tuple(range(2, x.ndim))


def over_space(table: Tensor, x: Tensor) -> Tensor:
    """Return a table as a view that broadcasts over the space of x (N, C, *spatial)."""
    return table[(..., *(None for _ in space_axes(x)))]


def dense(x: Tensor) -> tuple[Tensor, bool]:
    """Return x, or a contiguous copy, and whether it is channels-last.

    Channels of a single position lie side by side, so they count as channels-last.
    """
    x = x.resolve_neg()
    if x.is_contiguous():
        return x, x.shape[2:].numel() == 1
    if x.movedim(1, -1).is_contiguous():
        return x, True
    return x.contiguous(), x.shape[2:].numel() == 1


def ordered(dy: Tensor, channels_last: bool) -> Tensor:
    """Return a gradient (N, C, *spatial) in the memory order of x."""
    dy = dy.resolve_neg()
    return dy.movedim(1, -1).contiguous() if channels_last else dy.contiguous()
