"""Whitening norms: batch norms that also remove the correlations inside groups of channels."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ssl_norm.norms.batch.batch_statistics import BatchMoments
from ssl_norm.norms.input_checks import check_batch, check_channels
from ssl_norm.norms.layers.groups import check_groups, fewest_groups
from ssl_norm.norms.layers.whitening_roots import inverse_square_root, newton_inverse_square_root

MOST_CHANNELS_ZCA = 16
MOST_CHANNELS_ITERNORM = 64


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

    Statistics and products are float32, or float64 for float64 inputs, under autocast, too.

    Args:
        x: (N, C) or (N, C, *spatial); every position is an observation. Not altered.
        groups: G, the number of groups of D = C / G successive channels.
        whitening_matrix: W, from covariances (G, D, D) to matrices (G, D, D).
        statistics: mean (C,) and covariance (G, D, D) to whiten with. None: those of x, with
            gradients through both; the covariance divides by the number of observations.
        weight: (C,); None is 1.
        bias: (C,); None is 0.

    Returns:
        y like x, in its memory format; mean (C,); covariance (G, D, D).
    """
    with torch.autocast(x.device.type, enabled=False):
        channels_last = x.movedim(1, -1)
        rows = channels_last.flatten(0, -2).to(torch.promote_types(x.dtype, torch.float32))
        mean = rows.mean(0) if statistics is None else statistics[0].to(rows.dtype)
        size = x.shape[1] // groups
        centred = (rows - mean).view(-1, groups, size)  # (N * positions, G, D)
        if statistics is None:
            covariance = torch.einsum("ngd,nge->gde", centred, centred) / len(rows)
        else:
            covariance = statistics[1].to(rows.dtype)
        matrix = whitening_matrix(covariance)
        if weight is not None:
            matrix = weight.to(rows.dtype).view(groups, size, 1) * matrix
        y = torch.einsum("ngd,ged->nge", centred, matrix).flatten(1)
        if bias is not None:
            y = y + bias.to(rows.dtype)
        y = y.to(x.dtype).view(channels_last.shape).movedim(-1, 1)
    return y if channels_last.is_contiguous() else y.contiguous(), mean, covariance


class WhiteningNorm(nn.Module):
    """Module form of :func:`whiten`; a subclass says how the matrix follows from the covariance.

    Training whitens with the moments of the batch over (N, *spatial) and moves the running mean
    (C,) and the running covariance (G, D, D), the unbiased one, as batch norm's running variance
    is; evaluation whitens with the matrix of the running covariance. The papers average the
    whitening matrices instead. That average is too large, since the inverse root is convex, and
    bounded by eps alone where a batch has hardly more observations than a group has channels;
    averaged covariances are those of the pooled batches. One channel a group makes it batch norm.

    A batch with fewer observations than channels of a group has a covariance without full rank: eps
    bounds the matrix, the output keeps the batch's own rank, and directions that the batch does not
    fill get their scale from eps at evaluation until other batches have filled them.

    Args:
        num_features: channels C.
        groups: number of groups of successive channels; must divide C.
        eps: added to the diagonal of the covariance.
        update_rate: weight of the new batch in the running statistics, in (0, 1].
        affine: whether to learn weight and bias, each (C,), from 1 and 0.

    Shape:
        (N, C) or (N, C, *spatial) to the same.

    Raises:
        ValueError: `groups` does not divide C; in training, one value per channel.
    """

    running_mean: Tensor
    running_covariance: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self, num_features: int, *, groups: int, eps: float, update_rate: float, affine: bool
    ) -> None:
        super().__init__()
        check_groups(num_features, groups)
        self.num_features = num_features
        self.groups = groups
        self.eps = eps
        self.update_rate = update_rate
        self.evaluation = "population"  # or "batch"
        self.weight = nn.Parameter(torch.ones(num_features)) if affine else None
        self.bias = nn.Parameter(torch.zeros(num_features)) if affine else None
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
        """Move the running statistics by those of a batch: mean (1, C), covariance (1, G, D, D)."""
        values = moments.values[0]
        unbiased = moments.variance[0] * (values / (values - 1))
        self.running_mean.lerp_(moments.mean[0].to(self.running_mean.dtype), self.update_rate)
        self.running_covariance.lerp_(unbiased.to(self.running_covariance.dtype), self.update_rate)
        self.num_batches_tracked.add_(1)

    def outer_products(self, deviations: Tensor) -> Tensor:
        """Return d d^T (K, G, D, D) of the channels of each group, for K rows of deviations d (K, C)."""
        grouped = deviations.view(len(deviations), self.groups, -1)
        return grouped[..., :, None] * grouped[..., None, :]

    def extra_repr(self) -> str:
        """Return the sizes and options that the printed module shows."""
        options = {
            "groups": self.groups,
            "eps": self.eps,
            "update_rate": self.update_rate,
            "affine": self.weight is not None,
        }
        return ", ".join([str(self.num_features), *(f"{k}={v}" for k, v in options.items())])


class DecorrelatedBatchNorm(WhiteningNorm):
    """ZCA whitening inside groups of channels: :class:`WhiteningNorm` with the exact inverse root.

    y = weight (covariance + eps I)^(-1/2) (x - mean) + bias. Of all matrices that whiten, the
    symmetric root changes x least, and a rotation of the channels of a group rotates y alike. Wide
    groups are noisy at the batch sizes in use, and their eigenvectors slow.

    On (N, C) inputs this whitens the output of a head: with `groups=1, affine=False` the whitening
    of W-MSE (arXiv 2007.06346) with the symmetric root in place of a Cholesky factor. Take batches
    of at least twice C then.

    Args:
        num_features: channels C.
        groups: number of groups; must divide C. None: the fewest that hold at most 16 channels,
            the width of the paper's residual networks; for a prime C above 16 that is C groups.
        eps: added to every eigenvalue of the covariance.
        update_rate: weight of the new batch in the running statistics, in (0, 1].
        affine: whether to learn weight and bias, each (C,), from 1 and 0.

    Source: Huang et al., "Decorrelated Batch Normalization", arXiv 1804.08450, algorithm 1.
    """

    def __init__(
        self,
        num_features: int,
        *,
        groups: int | None = None,
        eps: float = 1e-5,
        update_rate: float = 0.1,
        affine: bool = True,
    ) -> None:
        if groups is None:
            groups = fewest_groups(num_features, MOST_CHANNELS_ZCA)
        super().__init__(
            num_features, groups=groups, eps=eps, update_rate=update_rate, affine=affine
        )

    def whitening_matrix(self, covariance: Tensor) -> Tensor:
        """Return the inverse square roots."""
        return inverse_square_root(covariance, self.eps)


class IterativeNorm(WhiteningNorm):
    """Whitening by a few of Newton's iterations: :class:`WhiteningNorm` with products of matrices.

    Like :class:`DecorrelatedBatchNorm`, which it approaches with more iterations. Five whiten the
    directions of large variance and stretch those of small variance by at most 1.5^5 = 7.6, which
    spares their noise and lets groups be wider.

    Args:
        num_features: channels C.
        groups: number of groups; must divide C. None: the fewest that hold at most 64 channels,
            as the authors advise; for a prime C above 64 that is C groups.
        eps: added to the diagonal of the covariance.
        update_rate: weight of the new batch in the running statistics, in (0, 1].
        iterations: Newton's iterations; 5 as published.
        affine: whether to learn weight and bias, each (C,), from 1 and 0.

    Raises:
        ValueError: fewer than one iteration.

    Source: Huang et al., "Iterative Normalization", arXiv 1904.03441, algorithm 1.
    """

    def __init__(
        self,
        num_features: int,
        *,
        groups: int | None = None,
        eps: float = 1e-5,
        update_rate: float = 0.1,
        iterations: int = 5,
        affine: bool = True,
    ) -> None:
        if iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {iterations}")
        if groups is None:
            groups = fewest_groups(num_features, MOST_CHANNELS_ITERNORM)
        super().__init__(
            num_features, groups=groups, eps=eps, update_rate=update_rate, affine=affine
        )
        self.iterations = iterations

    def whitening_matrix(self, covariance: Tensor) -> Tensor:
        """Return the inverse square roots after so many iterations."""
        return newton_inverse_square_root(covariance, self.eps, self.iterations)

    def extra_repr(self) -> str:
        """Return the sizes and options that the printed module shows."""
        return f"{super().extra_repr()}, iterations={self.iterations}"
