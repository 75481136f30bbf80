"""Whitening norms: batch norms that also decorrelate the channels of a group."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial, reduce
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Interval
from torch import Tensor
from torch.autograd import Function

from ssl_norm.norms.batch.batch_statistics import BatchMoments, UpdateRate
from ssl_norm.norms.core import Norm, by_autograd, is_transformed
from ssl_norm.norms.input_checks import check_batch, check_channels
from ssl_norm.norms.kernels.tables import table_dtype, widest_dtype
from ssl_norm.norms.kernels.tiling import ceil_divide
from ssl_norm.norms.layers.groups import Groups, check_groups, fewest_groups
from ssl_norm.norms.layers.whitening_roots import inverse_square_root, newton_inverse_square_root

Term = tuple[Tensor, Tensor | None, Tensor]  # x, mean and matrix, see _affine_map
# 1 MiB of float32: larger temporaries leave the cache, smaller ones cost more calls than work.
TILE_ELEMENTS = 2**18


def whiten(
    x: Tensor,
    groups: int,
    whitening_matrix: Callable[[Tensor], Tensor],
    statistics: tuple[Tensor, Tensor] | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the whitened input, and the mean and covariance that whitened it.

        y = weight * (W(covariance) (x - mean)) + bias, for each group of C / groups channels

    Statistics and products are float32, even under autocast. They are float64 for float64 inputs
    and, if the device has it, for vectors. The covariance of fewer vectors than channels has
    eigenvalues of 0, whose errors in float32 (1e-7 of the largest one) may exceed eps.

    Args:
        x: (N, C) or (N, C, *spatial); every position is an observation. Not altered.
        groups: G, the number of groups of D = C / G successive channels.
        whitening_matrix: W, from covariances (G, D, D) to matrices (G, D, D).
        statistics: mean (C,) and covariance (G, D, D) to whiten with. None: those of x, with
            gradients through both; the covariance divides by the number of observations.
        weight: (C,) or None.
        bias: (C,) or None.
    """
    with torch.autocast(x.device.type, enabled=False):
        # A batch of vectors often has no full rank. float32 then errs by more than eps.
        dtype = widest_dtype(x) if x.dim() == 2 else table_dtype(x)
        carriers: list[Tensor] = []
        if statistics is not None:
            mean, covariance = (each.to(dtype, copy=True) for each in statistics)
            mean = mean.view(groups, -1)  # backward needs the copy: running statistics move
        elif is_transformed():
            mean, covariance = _moments(x, groups, dtype)
        else:
            mean, covariance, *carriers = _Moments.apply(x, groups, dtype)
        matrix = whitening_matrix(covariance)
        if weight is not None:
            matrix = weight.to(dtype).view(groups, -1, 1) * matrix
        shift = torch.zeros_like(mean) if bias is None else bias.to(dtype).view_as(mean)
        term = (x, mean, matrix)
        y = _affine_map(shift, term) if is_transformed() else _Map.apply(shift, *term, *carriers)
    return y, mean.flatten(), covariance


def _moments(x: Tensor, groups: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return mean (G, D) and covariance (G, D, D)."""
    grouped = _grouped(x, groups)
    # Over space first, sums of contiguous memory round less; sums of channels-last memory are slow.
    steps = (3, 2) if x.is_contiguous() else ((2, 3),)
    mean = reduce(partial(torch.mean, dtype=dtype), steps, grouped)
    parts = (_rows(tile) - mean[..., None] for (tile,) in _tiles(grouped))
    products = (deviations @ deviations.mT for deviations in parts)
    return mean, sum(products, mean.new_zeros(())) / grouped[0, 0].numel()


class _Moments(Function):
    """x -> mean, covariance and empty outputs that carry dy and the matrix back from `_Map`.

    The gradients of the empty outputs are dy and the matrix, so that the whole gradient of x is
    formed here in one pass.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, groups: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
        mean, covariance = _moments(x, groups, dtype)
        ctx.save_for_backward(x, mean)
        ctx.set_materialize_grads(False)
        return mean, covariance, *(t.new_empty(()).expand_as(t) for t in (x, covariance))

    @staticmethod
    def backward(
        ctx: Any,
        d_mean: Tensor | None,
        d_covariance: Tensor | None,
        dy: Tensor | None,
        matrix: Tensor | None,
    ) -> tuple[Tensor, None, None]:
        x, mean = ctx.saved_tensors
        values = x.numel() / mean.numel()
        shift = torch.zeros_like(mean) if d_mean is None else d_mean / values
        slope = mean.new_zeros(len(mean), mean.shape[1], mean.shape[1])
        if d_covariance is not None:
            slope = (d_covariance + d_covariance.mT) / values
        terms: list[Term] = [(x, mean, slope)]
        if dy is not None and matrix is not None:
            terms.append((dy, None, matrix.mT))
        return _affine_map(shift, *terms), None, None


class _Map(Function):
    """shift, x, mean, matrix -> matrix (x - mean) + shift; carriers leave the gradient of x."""

    @staticmethod
    def forward(
        ctx: Any, shift: Tensor, x: Tensor, mean: Tensor, matrix: Tensor, *carriers: Tensor
    ) -> Tensor:
        ctx.save_for_backward(x, mean, matrix)
        ctx.carried = bool(carriers)
        return _affine_map(shift, (x, mean, matrix))

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, matrix = ctx.saved_tensors
        d_matrix, d_shift = torch.zeros_like(matrix), torch.zeros_like(mean)
        for tile, tile_dy in _tiles(_grouped(x, len(mean)), _grouped(dy, len(mean))):
            rows = _rows(tile_dy).to(mean.dtype)
            d_matrix = d_matrix + rows @ (_rows(tile) - mean[..., None]).mT
            d_shift = d_shift + rows.sum(-1)
        d_mean = -(matrix.mT @ d_shift[..., None])[..., 0]
        if ctx.carried:
            return d_shift, None, d_mean, d_matrix, dy, matrix
        dx = _affine_map(torch.zeros_like(mean), (dy, None, matrix.mT))
        return d_shift, dx, d_mean, d_matrix


def _affine_map(shift: Tensor, *terms: Term) -> Tensor:
    """Return the sum of matrix @ (x - mean), plus shift (G, D), like the first x.

    A term is x (N, C, *spatial), mean (G, D) or None for 0, and matrix (G, D, D).
    """
    x, grouped = terms[0][0], [_grouped(term[0], len(shift)) for term in terms]
    last = x.movedim(1, -1).is_contiguous()

    def product(tile: Tensor, mean: Tensor | None, matrix: Tensor) -> Tensor:
        rows = _rows(tile).to(shift.dtype) if mean is None else _rows(tile) - mean[..., None]
        by_rows = rows.stride(-1) != 1
        y = (rows.mT @ matrix.mT).mT if by_rows else matrix @ rows
        return y.view(tile.shape)

    def products(tiles: Iterable[Tensor]) -> Tensor:
        factors = zip(tiles, terms, strict=True)
        return reduce(torch.add, (product(tile, *term[1:]) for tile, term in factors))

    shift = shift[..., None, None]
    if by_autograd(shift, *(tensor for term in terms for tensor in term if tensor is not None)):
        result = (products(grouped) + shift).to(x.dtype).permute(2, 0, 1, 3).reshape(x.shape)
        return result if last else result.contiguous()
    layout = torch.preserve_format if last else torch.contiguous_format
    result = torch.empty_like(x, memory_format=layout)
    for target, *tiles in _tiles(_grouped(result, len(shift)), *grouped):
        torch.add(products(tiles), shift, out=target)
    return result


def _grouped(x: Tensor, groups: int) -> Tensor:
    """Return (N, C, *spatial) as a view (G, D, N, positions), where its strides allow it."""
    shape = (len(x), groups, x.shape[1] // groups, x.shape[2:].numel())
    return x.reshape(shape).permute(1, 2, 0, 3)


def _rows(grouped: Tensor) -> Tensor:
    """Return (G, D, observations): a view of channels-last memory, else a copy."""
    return grouped.reshape(*grouped.shape[:2], grouped.shape[2:].numel())


def _tiles(*grouped: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield some samples of every tensor at a time, which fit into the cache of a CPU.

    On an accelerator, or if :func:`by_autograd` is true, all samples are yielded at once.
    """
    whole = grouped[0].device.type != "cpu" or by_autograd(*grouped)
    tiles = 1 if whole else max(1, ceil_divide(grouped[0].numel(), TILE_ELEMENTS))
    return zip(*(tensor.chunk(tiles, 2) for tensor in grouped), strict=True)


class WhiteningNorm(Norm):
    """Module form of :func:`whiten`; a subclass defines the matrix from the covariance.

    Training whitens with the moments of the batch over (N, *spatial) and updates the running mean
    (C,) and the unbiased running covariance (G, D, D); evaluation whitens with the matrix of the
    running covariance. The papers average the whitening matrices instead, which are too large,
    since the inverse root is convex. With one channel per group this is batch norm. If a batch has
    fewer observations than a group has channels, the output has the rank of the batch, and at
    evaluation eps scales directions that no batch has filled.

    Args:
        groups: number of groups of successive channels; must divide C. None: the fewest that hold
            at most `most_channels` channels; for a prime C above that it is C groups.
        update_rate: weight of the new batch in the running statistics, in (0, 1].
        **options: eps, added to the diagonal of the covariance, and affine, see
            :class:`ssl_norm.norms.core.Norm`.

    """

    mixes_samples = True
    printed: ClassVar[tuple[str, ...]] = ("groups", "eps", "update_rate", "affine")
    most_channels: ClassVar[int]

    running_mean: Tensor
    running_covariance: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self,
        num_features: int,
        *,
        groups: Groups = None,
        update_rate: UpdateRate = 0.1,
        **options: Any,
    ) -> None:
        super().__init__(num_features, **options)
        if groups is None:
            groups = fewest_groups(num_features, self.most_channels)
        check_groups(num_features, groups)
        self.groups = groups
        self.update_rate = update_rate
        self.evaluation = "population"  # or "batch"
        self.register_buffer("running_mean", torch.zeros(num_features))
        uncorrelated = torch.eye(num_features // groups).repeat(groups, 1, 1)
        self.register_buffer("running_covariance", uncorrelated)
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def whitening_matrix(self, covariance: Tensor) -> Tensor:
        """Return the matrices (G, D, D) that whiten channels of the covariances (G, D, D)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Return the whitened input."""
        check_channels(x, self.num_features)
        uses_batch = self.training or self.evaluation == "batch"
        if uses_batch:
            check_batch(x)
        running = None if uses_batch else (self.running_mean, self.running_covariance)
        y, mean, covariance = whiten(
            x, self.groups, self.whitening_matrix, running, self.weight, self.bias
        )
        if self.training:
            values = mean.new_full((1, 1), x.numel() // self.num_features)
            self.observe(BatchMoments(mean.detach()[None], covariance.detach()[None], values))
        return y

    def observe(self, moments: BatchMoments) -> None:
        """Update the running statistics with a batch's mean (1, C), covariance (1, G, D, D)."""
        values = moments.values[0]
        unbiased = moments.variance[0] * (values / (values - 1))
        self.running_mean.lerp_(moments.mean[0].to(self.running_mean.dtype), self.update_rate)
        self.running_covariance.lerp_(unbiased.to(self.running_covariance.dtype), self.update_rate)
        self.num_batches_tracked.add_(1)

    def outer_products(self, deviations: Tensor) -> Tensor:
        """Return d d^T (K, G, D, D) within each group, for K rows of deviations d (K, C)."""
        grouped = deviations.view(len(deviations), self.groups, -1)
        return grouped[..., :, None] * grouped[..., None, :]


class DecorrelatedBatchNorm(WhiteningNorm):
    """ZCA whitening inside groups of channels: :class:`WhiteningNorm` with the exact inverse root.

    y = weight (covariance + eps I)^(-1/2) (x - mean) + bias. Of all matrices that whiten, the
    symmetric root changes x least, and rotating the channels of a group rotates y. Wide groups are
    noisy at usual batch sizes, and their eigenvectors take long to compute.

    With `groups=1, affine=False` on the (N, C) output of a head this is the whitening of W-MSE
    (arXiv 2007.06346), with the symmetric root instead of a Cholesky factor; use batches of at
    least 2 C.

    Groups hold at most 16 channels by default, the width of the paper's residual networks. For
    images in float32 whose channels are linearly dependent, choose `eps` above 1e-5 of the largest
    variance: rounding errors of the covariance are not far below that.

    Source: Huang et al., "Decorrelated Batch Normalization", arXiv 1804.08450, algorithm 1.
    """

    equation = (
        "y = gamma (S + eps I)^(-1/2) (x - E) + beta; E, S: mean, covariance of a group's channels"
    )
    most_channels = 16

    def whitening_matrix(self, covariance: Tensor) -> Tensor:
        """Return the inverse square roots."""
        return inverse_square_root(covariance, self.eps)


class IterativeNorm(WhiteningNorm):
    """Whitening by a few Newton iterations: :class:`WhiteningNorm` with products of matrices.

    With more iterations it approaches :class:`DecorrelatedBatchNorm`. Five iterations whiten the
    directions of large variance, and stretch those of small variance by at most 1.5^5 = 7.6. This
    amplifies noise less and allows wider groups: at most 64 channels by default, as the authors
    advise.

    Args:
        iterations: Newton's iterations; 5 as published.
        **options: those of :class:`WhiteningNorm`.

    Source: Huang et al., "Iterative Normalization", arXiv 1904.03441, algorithm 1.
    """

    equation = "as zca, with the root by Newton: P' = (3 P - P^3 S / tr S) / 2 from P = I"
    most_channels = 64
    printed = (*WhiteningNorm.printed, "iterations")

    def __init__(
        self,
        num_features: int,
        *,
        iterations: Annotated[int, Interval(ge=1, le=1000)] = 5,
        **options: Any,
    ) -> None:
        super().__init__(num_features, **options)
        self.iterations = iterations

    def whitening_matrix(self, covariance: Tensor) -> Tensor:
        """Return the inverse square roots after `iterations` steps."""
        return newton_inverse_square_root(covariance, self.eps, self.iterations)
