"""Device code of the kernels that :mod:`ssl_norm.norms.kernels.triton_kernels` launches.

The last arguments of a kernel are the fields of :class:`ssl_norm.norms.kernels.tiling.Tiling` in
order. Computation is in the dtype of the tables. A table (N, C) that may be expanded comes with its
strides.
"""

# mypy: disable-error-code="untyped-decorator"

from typing import TypeAlias

import triton
import triton.language as tl

T: TypeAlias = tl.tensor


@triton.jit
def moments_kernel(
    x: T, mean: T, variance: T,
    instances: T, channels: T, positions: T, span: T,
    CHANNELS_LAST: tl.constexpr, ROWS: tl.constexpr, POSITIONS: tl.constexpr, WIDE: tl.constexpr,
) -> None:  # fmt: skip
    """Write mean and biased variance of each row in each span: tables (spans, N, C).

    Every lane of the tile follows its own mean and sum of squared deviations (Welford 1962), and
    the lanes are merged at the end: no difference of large squares, and one read of x.
    """
    block, part, first, last = _share(positions, span, WIDE)
    sample, channel, starts, exists = _rows(
        block, instances, channels, positions, CHANNELS_LAST, ROWS
    )
    dtype: tl.constexpr = mean.dtype.element_ty
    one = tl.full((), 1, dtype)
    lane = tl.arange(0, POSITIONS)
    means = tl.zeros((ROWS, POSITIONS), dtype)
    squares = tl.zeros((ROWS, POSITIONS), dtype)
    for tile in range(0, tl.cdiv(last - first, POSITIONS)):
        position = first + tile * POSITIONS + lane
        inside = exists[:, None] & (position < last)[None, :]
        offsets = _offsets(starts, position, channels, CHANNELS_LAST)
        values = tl.load(x + offsets, mask=inside, other=0).to(dtype)
        deviation = tl.where(inside, values - means, 0)
        means += deviation * (one / (tile + 1))
        squares += deviation * (values - means)
    counts = ((last - first - lane + POSITIONS - 1) // POSITIONS).to(dtype)[None, :]
    row_mean, row_variance = _merged(means, squares, counts, 1)
    targets = part * instances + sample * channels + channel
    tl.store(mean + targets, row_mean, mask=exists)
    tl.store(variance + targets, row_variance, mask=exists)


@triton.jit
def merge_kernel(
    means: T, variances: T, mean: T, variance: T,
    instances: T, positions: T, span: T,
    SPANS: tl.constexpr, ROWS: tl.constexpr,
) -> None:  # fmt: skip
    """Write the moments of all positions from those of spans (spans, N, C); `SPANS` is 2^k."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    part = tl.arange(0, SPANS)
    dtype: tl.constexpr = mean.dtype.element_ty
    counts = tl.minimum(tl.maximum(positions - part * span, 0), span).to(dtype)[:, None]
    inside = (row < instances)[None, :] & (counts > 0)
    sources = part[:, None] * instances + row[None, :]
    span_means = tl.load(means + sources, mask=inside, other=0)
    squares = tl.load(variances + sources, mask=inside, other=0) * counts
    row_mean, row_variance = _merged(span_means, squares, counts, 0)
    tl.store(mean + row, row_mean, mask=row < instances)
    tl.store(variance + row, row_variance, mask=row < instances)


@triton.jit
def affine_kernel(
    x: T, y: T, scale: T, scale_n: T, scale_c: T, shift: T, shift_n: T, shift_c: T,
    instances: T, channels: T, positions: T, span: T,
    CHANNELS_LAST: tl.constexpr, ROWS: tl.constexpr, POSITIONS: tl.constexpr, WIDE: tl.constexpr,
) -> None:  # fmt: skip
    """Write y = scale * x + shift."""
    block, _, first, last = _share(positions, span, WIDE)
    sample, channel, starts, exists = _rows(
        block, instances, channels, positions, CHANNELS_LAST, ROWS
    )
    slope = _table(scale, scale_n, scale_c, sample, channel, exists)
    offset = _table(shift, shift_n, shift_c, sample, channel, exists)
    position = first + tl.arange(0, POSITIONS)
    inside = exists[:, None] & (position < last)[None, :]
    offsets = _offsets(starts, position, channels, CHANNELS_LAST)
    values = tl.load(x + offsets, mask=inside, other=0).to(slope.dtype)
    tl.store(y + offsets, (slope * values + offset).to(y.dtype.element_ty), mask=inside)


@triton.jit
def affine_gradients_kernel(
    dy: T, x: T, mean: T, d_scale: T, d_shift: T,
    instances: T, channels: T, positions: T, span: T,
    CHANNELS_LAST: tl.constexpr, ROWS: tl.constexpr, POSITIONS: tl.constexpr, WIDE: tl.constexpr,
) -> None:  # fmt: skip
    """Write the sums of dy * x and of dy over each span: tables (spans, N, C).

    The first is summed about the mean, so that a large one does not drown it.
    """
    block, part, first, last = _share(positions, span, WIDE)
    sample, channel, starts, exists = _rows(
        block, instances, channels, positions, CHANNELS_LAST, ROWS
    )
    dtype: tl.constexpr = mean.dtype.element_ty
    row = sample * channels + channel
    row_mean = tl.load(mean + row, mask=exists, other=0)
    products = tl.zeros((ROWS, POSITIONS), dtype)
    gradients = tl.zeros((ROWS, POSITIONS), dtype)
    for tile in range(0, tl.cdiv(last - first, POSITIONS)):
        position = first + tile * POSITIONS + tl.arange(0, POSITIONS)
        inside = exists[:, None] & (position < last)[None, :]
        offsets = _offsets(starts, position, channels, CHANNELS_LAST)
        gradient = tl.load(dy + offsets, mask=inside, other=0).to(dtype)
        values = tl.load(x + offsets, mask=inside, other=0).to(dtype)
        products += gradient * (values - row_mean[:, None])
        gradients += gradient
    d_row_shift = tl.sum(gradients, 1)
    d_row_scale = tl.sum(products, 1) + row_mean * d_row_shift
    tl.store(d_scale + part * instances + row, d_row_scale, mask=exists)
    tl.store(d_shift + part * instances + row, d_row_shift, mask=exists)


@triton.jit
def input_gradient_kernel(
    dy: T, x: T, dx: T, scale: T, scale_n: T, scale_c: T, mean: T, mean_n: T, mean_c: T, d_mean: T,
    d_mean_n: T, d_mean_c: T, d_variance: T, d_variance_n: T, d_variance_c: T,
    instances: T, channels: T, positions: T, span: T,
    CHANNELS_LAST: tl.constexpr, ROWS: tl.constexpr, POSITIONS: tl.constexpr, WIDE: tl.constexpr,
) -> None:  # fmt: skip
    """Write dx = scale * dy + (d_mean + 2 (x - mean) d_variance) / positions."""
    block, _, first, last = _share(positions, span, WIDE)
    sample, channel, starts, exists = _rows(
        block, instances, channels, positions, CHANNELS_LAST, ROWS
    )
    factor = _table(scale, scale_n, scale_c, sample, channel, exists)
    centre = _table(mean, mean_n, mean_c, sample, channel, exists)
    offset = _table(d_mean, d_mean_n, d_mean_c, sample, channel, exists) / positions
    slope = _table(d_variance, d_variance_n, d_variance_c, sample, channel, exists) * 2 / positions
    position = first + tl.arange(0, POSITIONS)
    inside = exists[:, None] & (position < last)[None, :]
    offsets = _offsets(starts, position, channels, CHANNELS_LAST)
    gradient = tl.load(dy + offsets, mask=inside, other=0).to(centre.dtype)
    values = tl.load(x + offsets, mask=inside, other=0).to(centre.dtype)
    result = factor * gradient + (slope * (values - centre) + offset)
    tl.store(dx + offsets, result.to(dx.dtype.element_ty), mask=inside)


@triton.jit
def _share(positions: T, span: T, WIDE: tl.constexpr) -> T:
    """Return the program's block of rows, its span, and the first and last + 1 position of it."""
    program = tl.program_id(0)
    if WIDE:
        program = program.to(tl.int64)
    spans = tl.cdiv(positions, span)
    part = program % spans
    first = part * span
    return program // spans, part, first, tl.minimum(first + span, positions)


@triton.jit
def _rows(
    block: T,
    instances: T, channels: T, positions: T,
    CHANNELS_LAST: tl.constexpr, ROWS: tl.constexpr,
) -> T:  # fmt: skip
    """Return sample, channel and start in memory of each row of a block, and whether it exists."""
    if CHANNELS_LAST:
        blocks = tl.cdiv(channels, ROWS)
        sample = block // blocks
        channel = block % blocks * ROWS + tl.arange(0, ROWS)
        starts = sample * positions * channels + channel
        exists = channel < channels
    else:
        row = block * ROWS + tl.arange(0, ROWS)
        sample = row // channels
        channel = row % channels
        starts = row * positions
        exists = row < instances
    return sample, channel, starts, exists


@triton.jit
def _offsets(starts: T, position: T, channels: T, CHANNELS_LAST: tl.constexpr) -> T:
    step = channels if CHANNELS_LAST else 1
    return starts[:, None] + (position * step)[None, :]


@triton.jit
def _table(
    table: T, stride_n: T, stride_c: T, sample: T, channel: T, exists: T,
) -> T:  # fmt: skip
    """Return the entries of a table (N, C) for the rows, (ROWS, 1)."""
    entries = tl.load(table + sample * stride_n + channel * stride_c, mask=exists, other=0)
    return entries[:, None]


@triton.jit
def _merged(means: T, squares: T, counts: T, AXIS: tl.constexpr) -> T:
    """Return mean and biased variance of groups: their means, sums of squared deviations and sizes.

    Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing
    sample variances", 1979.
    """
    total = tl.sum(counts)
    mean = tl.sum(means * counts, AXIS) / total
    away = means - tl.expand_dims(mean, AXIS)
    return mean, tl.sum(squares + counts * away * away, AXIS) / total
