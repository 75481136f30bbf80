"""The four passes in plain torch; on a CPU a tile of samples at a time, to stay in the cache."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ssl_norm.norms.kernels.tables import table_dtype
from ssl_norm.norms.kernels.tiling import ceil_divide

# 2 MiB of float32: larger temporaries leave the cache, smaller ones cost more calls than work.
TILE_ELEMENTS = 2**19


def instance_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance over space of (N, C, *spatial), each (N, C).

    The variance is the mean squared deviation, so that a large mean does not drown it; the
    elementwise squared error gives the squares in one operation.
    """
    axis = _space_axis(x)
    values = _rows(x, axis)
    mean, variance = (values.new_empty(x.shape[:2], dtype=table_dtype(x)) for _ in range(2))
    rows = (values, mean.unsqueeze(axis), variance.unsqueeze(axis))
    for buffer, tile, tile_mean, tile_variance in _tiles(mean.dtype, *rows):
        torch.mean(tile, axis, keepdim=True, dtype=mean.dtype, out=tile_mean)
        torch.ops.aten.mse_loss.out(tile, tile_mean, reduction=0, out=buffer)
        torch.mean(buffer, axis, keepdim=True, out=tile_variance)
    return mean, variance


def pointwise_map(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return scale * x + shift, like x (N, C, *spatial); the tables are (N, C)."""
    axis = _space_axis(x)
    values = _rows(x, axis)
    y = _empty_like(x, axis)
    rows = (_rows(y, axis), values, scale.unsqueeze(axis), shift.unsqueeze(axis))
    for buffer, target, tile, tile_scale, tile_shift in _tiles(scale.dtype, *rows):
        direct = target.dtype == buffer.dtype
        result = _multiply_add(tile, tile_scale, tile_shift, axis, out=target if direct else buffer)
        if not direct:
            target.copy_(result)
    return y


def map_gradients(dy: Tensor, x: Tensor, mean: Tensor, _scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sums over space of dy * x and of dy, each (N, C).

    The first is summed about the instance mean, so that a large mean does not drown it. On a CPU,
    the backward of torch's batch norm computes both sums in one pass over contiguous rows, which it
    takes for the channels of one sample.
    """
    axis = _space_axis(x)
    if axis == 2 and x.device.type == "cpu":
        as_channels = (1, mean.numel(), -1)
        _, centred, d_shift = torch.ops.aten.native_batch_norm_backward(
            _rows(dy, axis).view(as_channels),
            _rows(x, axis).view(as_channels),
            weight=None,
            running_mean=None,
            running_var=None,
            save_mean=mean.view(-1),
            save_invstd=torch.ones_like(mean).view(-1),
            train=True,
            eps=0.0,
            output_mask=[False, True, True],
        )
        d_shift = d_shift.view_as(mean)
        return centred.view_as(mean).addcmul_(mean, d_shift), d_shift
    d_scale, d_shift = torch.empty_like(mean), torch.empty_like(mean)
    tables = (table.unsqueeze(axis) for table in (mean, d_scale, d_shift))
    rows = (_rows(dy, axis), _rows(x, axis), *tables)
    for buffer, gradient, tile, tile_mean, tile_scale, tile_shift in _tiles(mean.dtype, *rows):
        torch.sum(gradient, axis, keepdim=True, dtype=mean.dtype, out=tile_shift)
        torch.sub(tile, tile_mean, out=buffer).mul_(gradient)
        torch.sum(buffer, axis, keepdim=True, out=tile_scale)
    return d_scale.addcmul_(mean, d_shift), d_shift


def input_gradient(
    dy: Tensor, x: Tensor, mean: Tensor, d_mean: Tensor, d_variance: Tensor, scale: Tensor
) -> Tensor:
    """Return scale * dy + (d_mean + 2 (x - mean) d_variance) / positions, like x."""
    axis = _space_axis(x)
    values = _rows(x, axis)
    slope = d_variance * (2 / values.shape[axis])
    offset = (d_mean / values.shape[axis]).addcmul_(mean, slope, value=-1)
    dx = _empty_like(x, axis)
    tables = (table.unsqueeze(axis) for table in (scale, slope, offset))
    rows = (_rows(dx, axis), _rows(dy, axis), values, *tables)
    for buffer, target, gradient, tile, tile_scale, *line in _tiles(mean.dtype, *rows):
        tile_slope, tile_offset = line
        direct = target.dtype == buffer.dtype
        result = _multiply_add(
            tile, tile_slope, tile_offset, axis, out=target if direct else buffer
        )
        result.addcmul_(gradient.to(buffer.dtype), tile_scale)
        if not direct:
            target.copy_(result)
    return dx


def _multiply_add(x: Tensor, slope: Tensor, offset: Tensor, axis: int, out: Tensor) -> Tensor:
    """Write slope * x + offset into `out` and return it."""
    if axis == 1:
        return torch.addcmul(offset, x, slope, out=out)
    # addcmul is slow where two of its operands are constant along the rows.
    return torch.mul(x, slope, out=out).add_(offset)


def _space_axis(x: Tensor) -> int:
    """Return the axis of space in the rows of x: 1, in (N, S, C), if channels-last; else 2."""
    channels_last = not x.is_contiguous() and x.movedim(1, -1).is_contiguous()
    return 1 if channels_last else 2


def _rows(x: Tensor, axis: int) -> Tensor:
    """Return (N, C, *spatial) as contiguous (N, C, S) or, for axis 1, (N, S, C)."""
    rows = x.flatten(2) if axis == 2 else x.movedim(1, -1).flatten(1, -2)
    return rows.contiguous()


def _empty_like(x: Tensor, axis: int) -> Tensor:
    """Return new memory of the shape of x in which :func:`_rows` is a view."""
    if axis == 2:
        return torch.empty_like(x, memory_format=torch.contiguous_format)
    return x.new_empty_strided(x.shape, x.stride())


def _tiles(dtype: torch.dtype, *rows: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield a buffer and some samples of every tensor; on an accelerator all samples at once."""
    largest = max(rows, key=Tensor.numel)
    samples = max(1, TILE_ELEMENTS // largest[0].numel())
    tiles = ceil_divide(len(largest), samples) if largest.device.type == "cpu" else 1
    # Tensor.chunk is several times faster than torch.split.
    chunks = [tensor.chunk(tiles) for tensor in rows]
    buffer = torch.empty_like(largest.chunk(tiles)[0], dtype=dtype)
    for tile in zip(*chunks, strict=True):
        yield buffer[: len(tile[0])], *tile
