"""Mean and variance of all values of a sequence of batches."""

from collections.abc import Callable

import torch
from torch import Tensor

from ssl_norm.distributed import gather_batch, is_distributed
from ssl_norm.norms.kernels.dispatch import passes_for
from ssl_norm.norms.kernels.tables import widest_dtype

Square = Callable[[Tensor], Tensor]


class PooledMoments:
    """Moments of all values of all batches, each value counted once.

    Sets of values are merged by their counts, means and sums of squared deviations, in float64 if
    the device has it. This is exact for large means, and needs no more memory for more batches.

    Args:
        mean: example of the means, (C,), or (D, C) for D domains; sets shape and device.
        variance: example of the variances, or of covariances (G, D, D); sets the shape.
        square: function from deviations (K, *mean.shape) to squares (K, *variance.shape).

    Attributes:
        count: values per channel so far, (1,) or (D, 1).
        mean: like `mean`.
        spread: like `variance`, sums of squared deviations from the mean.

    Source: Chan, Golub & LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample
    Variances", 1979, equation 2.1.
    """

    def __init__(self, mean: Tensor, variance: Tensor, square: Square = torch.square) -> None:
        dtype = widest_dtype(mean)
        self.count = torch.zeros_like(mean[..., :1], dtype=dtype)
        self.mean = torch.zeros_like(mean, dtype=dtype)
        self.spread = torch.zeros_like(variance, dtype=dtype)
        self._square = square

    @property
    def variance(self) -> Tensor:
        """Unbiased variance or covariance: divided by count - 1, like torch's running_var."""
        return self.spread / (self.count - 1)

    def add(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Add means, biased variances and numbers of values per channel of K sets, stacked."""
        mean, variance, count = (table.to(self.mean.dtype) for table in (mean, variance, count))
        self._merge(mean, variance * _like(count, variance), count)

    def add_values(self, x: Tensor) -> None:
        """Add all values of x (N, C) or (N, C, *spatial)."""
        if x.ndim == 2:
            mean, variance = x, torch.zeros_like(x)
        else:
            mean, variance = passes_for(x).instance_moments(x)
        self.add(mean, variance, mean.new_full((len(x), 1), x.shape[2:].numel()))

    def _merge(self, mean: Tensor, spread: Tensor, count: Tensor) -> None:
        """Merge K sets with each other, then with the values so far."""
        total = count.sum(0)
        own_mean = (count * mean).sum(0) / total.clamp(min=1)
        own_spread = (spread + _like(count, spread) * self._square(mean - own_mean)).sum(0)
        shift, merged = own_mean - self.mean, self.count + total
        share = total / merged.clamp(min=1)
        self.mean = self.mean + share * shift
        between = self._square(shift[None])[0]
        self.spread = self.spread + own_spread + self.count * share * between
        self.count = merged

    def pool_over_ranks(self) -> None:
        """Merge with the counterparts on all other ranks, in place; a collective call."""
        if is_distributed():
            parts = (self.mean, self.spread, self.count)
            of_ranks = [gather_batch(part[None]) for part in parts]
            self.mean, self.spread, self.count = map(torch.zeros_like, parts)
            self._merge(*of_ranks)


def _like(count: Tensor, table: Tensor) -> Tensor:
    """Return counts (K, 1) as a view that broadcasts over tables (K, ...)."""
    return count.view(*count.shape, *(1 for _ in table.shape[count.ndim :]))
