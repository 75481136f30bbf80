"""PreciseBN: population statistics of all data under the present weights.

Evaluation needs the statistics of the present weights over the training data. A moving average
mixes those of older weights, and covers only the last batches.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import compress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ssl_norm.distributed import gather_batch, is_distributed
from ssl_norm.norms.batch.batch_statistics import BatchMoments
from ssl_norm.norms.batch.evaluation_statistics import kept_statistics
from ssl_norm.norms.batch.freezing import FrozenStatistics, evaluation_mode
from ssl_norm.norms.kernels.dispatch import passes_for
from ssl_norm.norms.kernels.tables import widest_dtype
from ssl_norm.norms.layers.batch_norm import BatchNorm
from ssl_norm.norms.layers.batch_renorm import BatchRenorm
from ssl_norm.norms.layers.whitening import WhiteningNorm
from ssl_norm.norms.swap.find import BATCH_NORMS, norm_kinds
from ssl_norm.text import counted

INPUT_STATISTICS = (_BatchNorm, BatchNorm)  # layers that keep the statistics of their input


@dataclass(frozen=True)
class StatisticsShift:
    """Moments (C,) of channels normalized with old statistics; 0 and 1 if these were exact."""

    mean: Tensor  # (new mean - old mean) / sqrt(old variance + eps), float64
    deviation: Tensor  # sqrt((new variance + eps) / (old variance + eps)), float64
    count: int  # values per channel of the new statistics: samples times positions

    @property
    def typical_mean(self) -> float:
        """Root mean square over channels of the shift of the mean, in deviations."""
        return float(self.mean.square().mean().sqrt())

    @property
    def largest_mean(self) -> float:
        """Largest shift of the mean of a channel, in deviations."""
        return float(self.mean.abs().max())

    @property
    def typical_deviation(self) -> float:
        """Geometric mean over channels of the ratio of deviations, new to old."""
        return float(self.deviation.log().mean().exp())

    @property
    def deviation_range(self) -> tuple[float, float]:
        """Smallest and largest ratio of deviations of all channels."""
        return float(self.deviation.min()), float(self.deviation.max())


@dataclass(frozen=True)
class PopulationReport:
    """Outcome of a recomputation for every layer with running statistics."""

    shifts: Mapping[str, StatisticsShift]  # of each layer that was recomputed, by name
    not_called: tuple[str, ...]  # batch norms that no input reached and that did not change
    not_recomputed: Mapping[str, str]  # reasons why other layers with statistics did not change
    batches: int  # that this process passed through the model

    def __str__(self) -> str:
        norms = counted(len(self.shifts), "batch norm")
        parts = [f"{norms} recomputed over {counted(self.batches, 'batch', 'batches')}"]
        if self.shifts:
            name = max(self.shifts, key=lambda name: self.shifts[name].typical_mean)
            parts.append(
                f"largest shift of means {self.shifts[name].typical_mean:.3g} deviations ({name})"
            )
        if self.not_called:
            parts.append(f"never called: {', '.join(self.not_called)}")
        if self.not_recomputed:
            others = (f"{name} ({reason})" for name, reason in self.not_recomputed.items())
            parts.append(f"not recomputed: {', '.join(others)}")
        return "; ".join(parts)


class PooledMoments:
    """Moments of all values of all batches, each value counted once.

    Sets of values are merged by their counts, means and sums of squared deviations, in float64 if
    the device has it. This is exact for large means, and needs no more memory for more batches.

    Args:
        mean: example of the means, (C,), or (D, C) for D domains; sets shape and device.
        variance: example of the variances, or of covariances (G, D, D); sets the shape.
        square: function from deviations (K, *mean.shape) to squares (K, *variance.shape).

    Source: Chan, Golub & LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample
    Variances", 1979, equation 2.1.
    """

    def __init__(
        self, mean: Tensor, variance: Tensor, square: Callable[[Tensor], Tensor] = torch.square
    ) -> None:
        dtype = widest_dtype(mean)
        self.count = torch.zeros_like(mean[..., :1], dtype=dtype)  # values per channel
        self.mean = torch.zeros_like(mean, dtype=dtype)
        self.spread = torch.zeros_like(variance, dtype=dtype)  # sums of squared deviations
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

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, spread and count."""
        return self.mean, self.spread, self.count

    def become_merger_of(self, mean: Tensor, spread: Tensor, count: Tensor) -> None:
        """Replace the moments by the merger of K sets, stacked."""
        self.mean, self.spread, self.count = map(torch.zeros_like, self.parts)
        self._merge(mean.to(self.mean), spread.to(self.mean), count.to(self.mean))


def _pool_over_ranks(moments: Sequence[PooledMoments]) -> None:
    """Merge moments with their counterparts on all other ranks, in place and in one exchange."""
    if not is_distributed() or not moments:
        return
    parts = [part for one in moments for part in one.parts]
    row = torch.cat([part.flatten().to(moments[0].mean.device) for part in parts])
    tables = torch.split(gather_batch(row[None]), [part.numel() for part in parts], dim=1)
    of_ranks = [t.view(-1, *part.shape) for t, part in zip(tables, parts, strict=True)]
    for index, one in enumerate(moments):
        one.become_merger_of(*of_ranks[3 * index : 3 * index + 3])


def _like(count: Tensor, table: Tensor) -> Tensor:
    """Return counts (K, 1) as a view that broadcasts over tables (K, ...)."""
    return count.view(*count.shape, *(1 for _ in table.shape[count.ndim :]))


def recompute_statistics(
    model: nn.Module, batches: Iterable[Any], forward: Callable[[Any], object] | None = None
) -> PopulationReport:
    """Replace the running statistics of every batch norm by those of the values that pass it.

    These are the mean and the unbiased variance of all values of all batches. Batches are weighted
    by their number of values, and the spread of their means is included:

        variance = N / (N - 1) * (mean_i(variance_i + mean_i^2) - mean_i(mean_i)^2), N values

    Batch norms normalize with the statistics of each batch, as in training (`brn` without its
    correction towards the old statistics); everything else is in evaluation mode (no dropout). A
    batch should therefore be at least as large as in training; a hundred samples a batch, and a
    thousand to ten thousand in total, are enough. Several calls of a layer in a forward pass are
    pooled. Ghost batches, domains and calibrations follow the rule of the layer. Compiled models
    run uncompiled, since compiled code skips hooks.

    With several ranks this is a collective call: each rank passes its share of the data, and all
    get the statistics of all data. It takes the memory of one forward pass, and computes in
    float64.

    Args:
        model: its running statistics are overwritten, unless an error is raised. Modes, weights,
            update rates and frozen layers do not change.
        batches: the inputs of `forward`; images are augmented as in training.
        forward: passes one batch through the model, for example `lambda batch: model(batch[0])`
            where batches hold labels; None: the model itself.

    Returns:
        The shift of each layer, and the layers that did not change, with reasons.

    Raises:
        ValueError: there is no batch norm to recompute (the text names the norms found) or no
            batch, no batch norm was called, or a statistic is not finite.

    Source: PreciseBN of Wu & Johnson, "Rethinking Batch in BatchNorm", arXiv 2105.07576, section 3.

    Example:
        >>> model = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 3)).eval()
        >>> data = torch.randn(40, 2)
        >>> print(recompute_statistics(model, data.split(16)).batches, model[0].training)
        3 False
        >>> torch.allclose(model[0].running_var, data.var(0))
        True
    """
    layers, others = recomputable(model)
    moments = {
        name: PooledMoments(*_statistics_of(layer), getattr(layer, "outer_products", torch.square))
        for name, layer in layers.items()
    }
    count = 0
    with torch.no_grad(), _gathering(model, layers, moments):
        for count, batch in enumerate(batches, start=1):  # noqa: B007 - counts after the loop
            (forward or model)(batch)
    # Other synchronized layers report the moments of all ranks on every rank.
    own = (
        isinstance(m, INPUT_STATISTICS) or not getattr(m, "sync", False) for m in layers.values()
    )
    _pool_over_ranks([*compress(moments.values(), own)])
    called = {name: layers[name] for name, part in moments.items() if part.count.any()}
    if not called and not count:
        raise ValueError("no batch to take statistics of: the iterable of batches is empty")
    if not called:
        raise ValueError(f"the forward pass reached none of the {len(layers)} batch norms")
    for name in called:
        if not (moments[name].mean.isfinite().all() and moments[name].spread.isfinite().all()):
            raise ValueError(
                f"the input of layer '{name}' has statistics that are not finite; no layer was "
                "changed"
            )
    empty = {
        f"{name}, domain {domain}": "no samples"
        for name in called
        for domain in (moments[name].count.flatten() == 0).nonzero().flatten().tolist()
    }
    return PopulationReport(
        shifts={name: _install(layer, moments[name]) for name, layer in called.items()},
        not_called=tuple(name for name in layers if name not in called),
        not_recomputed=others | empty,
        batches=count,
    )


def recomputable(model: nn.Module) -> tuple[dict[str, nn.Module], dict[str, str]]:
    """Return the batch norms to recompute by name, and the reason or class of other layers."""
    layers: dict[str, nn.Module] = {}
    others: dict[str, str] = {}
    for name, layer in model.named_modules():
        statistics = [key for key in layer._buffers if key.startswith("running_")]
        if isinstance(layer, FrozenStatistics):
            others[name] = "frozen"
        elif isinstance(layer, BATCH_NORMS):
            if all(layer._buffers[key] is not None for key in statistics) and statistics:
                layers[name] = layer
            else:
                others[name] = "keeps no statistics"
        elif statistics:
            others[name] = type(layer).__name__
    if not layers:
        raise ValueError(
            f"{type(model).__name__} has no batch norm with statistics to recompute; "
            f"its norms: {norm_kinds(model)}"
        )
    return layers, others


def _statistics_of(layer: nn.Module) -> tuple[Tensor, Tensor]:
    """Return the buffers of a layer: the running mean and the running variance or covariance."""
    variance = "running_covariance" if isinstance(layer, WhiteningNorm) else "running_var"
    return layer.get_buffer("running_mean"), layer.get_buffer(variance)


@contextmanager
def _gathering(
    model: nn.Module, layers: Mapping[str, nn.Module], moments: Mapping[str, PooledMoments]
) -> Iterator[None]:
    """Collect the moments of the layers' inputs; restore modes and buffers on exit."""
    with ExitStack() as stack:
        # Otherwise nothing is compiled, and the import would take seconds.
        if "torch._dynamo" in sys.modules:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(evaluation_mode(model, set(layers.values())))
        for name, layer in layers.items():
            stack.enter_context(kept_statistics(layer))
            if isinstance(layer, BatchRenorm):
                layer.num_batches_tracked.zero_()  # during its warm-up it is batch norm
            stack.enter_context(_observed(layer, moments[name]))
        yield


@contextmanager
def _observed(layer: nn.Module, moments: PooledMoments) -> Iterator[None]:
    """Add the batch statistics that a layer uses to the moments."""

    def add_input(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        moments.add_values(next(iter((*args, *kwargs.values()))))

    def observe(batch: BatchMoments) -> None:
        if moments.mean.ndim == 1:
            moments.add(*batch)
        else:  # from K chunks of each domain, (D * K, ...), to (K, D, ...)
            domains = len(moments.mean)
            moments.add(*(t.view(domains, -1, t.shape[-1]).transpose(0, 1) for t in batch))

    with ExitStack() as stack:
        if isinstance(layer, INPUT_STATISTICS):
            stack.enter_context(layer.register_forward_pre_hook(add_input, with_kwargs=True))
        else:
            vars(layer)["observe"] = observe  # before the method of its class
            stack.callback(vars(layer).pop, "observe")
        yield


@torch.no_grad()
def _install(layer: nn.Module, moments: PooledMoments) -> StatisticsShift:
    """Overwrite the running statistics of a layer, and return their shift."""
    mean, variance = _statistics_of(layer)
    eps: float = layer.eps  # type: ignore[assignment]
    old_mean, old_variance = map(_in_float64, (mean, variance))
    seen = moments.count > 0
    mean.copy_(torch.where(seen, moments.mean, mean))
    variance.copy_(torch.where(seen, moments.variance, variance))
    return StatisticsShift(
        mean=(_in_float64(mean) - old_mean) * (old_variance + eps).rsqrt(),
        deviation=((_in_float64(variance) + eps) / (old_variance + eps)).sqrt(),
        count=int(moments.count.sum()),
    )


def _in_float64(statistics: Tensor) -> Tensor:
    """Return a copy on the CPU of means or variances, or of the diagonals of (G, D, D)."""
    found = statistics.diagonal(dim1=1, dim2=2).flatten() if statistics.ndim == 3 else statistics
    return found.to("cpu", torch.float64, copy=True)
