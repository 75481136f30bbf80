"""Base class of all batch norms, and the moments of batches."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from annotated_types import Interval
from torch import Tensor

from ssl_norm.distributed import gather_batch, is_distributed
from ssl_norm.norms.batch.batch_norm_checkpoints import fill_from_batch_norm
from ssl_norm.norms.core import RuleNorm, affine_coefficients, normalize
from ssl_norm.norms.input_checks import check_batch, check_channels
from ssl_norm.norms.kernels.pooled import PooledRule, compiled_by

Samples = Annotated[int, Interval(ge=1, le=10**6)]
BatchSize = Samples | None
UpdateRate = Annotated[float, Interval(gt=0, le=1)]  # 1: the statistics of the last batch
Evaluation = Literal["population", "batch"]
Population = Literal["ema", "cumulative", "exact"]
# Mean and variance of the batch as a function of the instance moments.
Statistics = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
STATISTICS = ("statistics", "own_statistics", "batch_moments", "by_sample")  # methods
UNSHOWN = {"batch_size": None, "sync": False, "evaluation": "population", "population": "ema"}


class BatchMoments(NamedTuple):
    """Statistics of K batches (chunks) of values, per channel."""

    mean: Tensor  # (K, C)
    variance: Tensor  # (K, C), biased
    values: Tensor  # (K, 1), values per channel: samples times positions


def pool(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance of all values, (..., 1, C), from instances (..., N, C)."""
    samples = max(1, mean.shape[-2])
    pooled = mean.sum(-2, keepdim=True) / samples
    deviations = (mean - pooled).square() + variance
    return pooled, deviations.sum(-2, keepdim=True) / samples


def moments_of(mean: Tensor, variance: Tensor, positions: int) -> BatchMoments:
    """Return the moments of one batch, K = 1, from instance moments (N, C)."""
    return BatchMoments(*pool(mean, variance), mean.new_full((1, 1), len(mean) * positions))


def moments_in_chunks(mean: Tensor, variance: Tensor, positions: int, samples: int) -> BatchMoments:
    """Return the moments of K consecutive chunks of samples, of which the last may be smaller."""
    whole = len(mean) // samples * samples
    folded = (table[:whole].view(-1, samples, table.shape[-1]) for table in (mean, variance))
    chunk_mean, chunk_variance = (table.squeeze(-2) for table in pool(*folded))
    values = mean.new_full((len(chunk_mean), 1), samples * positions)
    moments = BatchMoments(chunk_mean, chunk_variance, values)
    if whole == len(mean):
        return moments
    rest = moments_of(mean[whole:], variance[whole:], positions)
    return BatchMoments(*(torch.cat(pair) for pair in zip(moments, rest, strict=True)))


def pool_unevenly(moments: BatchMoments) -> BatchMoments:
    """Merge the moments of K batches of any sizes, (K, ...), into those of one batch, (1, ...)."""
    share = moments.values / moments.values.sum(0).clamp(min=1)
    mean = (share * moments.mean).sum(0, keepdim=True)
    between = (moments.mean - mean).square()
    variance = (share * (moments.variance + between)).sum(0, keepdim=True)
    return BatchMoments(mean, variance, moments.values.sum(0, keepdim=True))


def pool_over_ranks(moments: BatchMoments) -> BatchMoments:
    """Return the moments of K batches that span all ranks, in one exchange each way.

    Ranks may hold different numbers of values, or none.
    """
    table = torch.cat([*moments], dim=-1)
    tables = gather_batch(table).view(-1, *table.shape)  # (ranks, K, 2 C + 1)
    sizes = [moments.mean.shape[-1], moments.variance.shape[-1], 1]
    pooled = pool_unevenly(BatchMoments(*torch.split(tables, sizes, dim=-1)))
    return BatchMoments(*(table[0] for table in pooled))


class BatchStatisticsNorm(RuleNorm):
    """Base of all batch norms: buffers and the policies of batch statistics.

    A subclass defines :meth:`rule` by means of :meth:`statistics`; the default is batch norm's
    rule.

    Args:
        update_rate: weight of the new batch in the running statistics (torch's `momentum`).
        batch_size: samples that share statistics in training (ghost batches, arXiv 1705.08741):
            consecutive chunks, of which the last may be smaller; None: the whole batch. The running
            statistics are updated once per batch, with the average over its chunks.
        sync: whether the batch spans all ranks; exact if ranks hold different numbers of samples.
        evaluation: statistics in evaluation mode: `population`, the running statistics, or `batch`.
        population: running statistics: `ema`, a moving average; `cumulative`, the average of all
            batches (torch's `momentum=None`); `exact`, a moving average that pretraining replaces
            at its end by :func:`ssl_norm.norms.batch.precise_bn.recompute_statistics`.
        **options: eps and affine, see :class:`ssl_norm.norms.core.Norm`.

    The buffers are running_mean (C,), initially 0, running_var (C,), initially 1, the average of
    unbiased variances, and num_batches_tracked, the number of batches that updated them.
    """

    mixes_samples = True
    affine_parameters: ClassVar[tuple[str, ...]] = ("weight", "bias")
    printed: ClassVar[tuple[str, ...]] = ()

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self,
        num_features: int,
        *,
        update_rate: UpdateRate = 0.1,
        batch_size: BatchSize = None,
        sync: bool = False,
        evaluation: Evaluation = "population",
        population: Population = "ema",
        **options: Any,
    ) -> None:
        super().__init__(num_features, **options)
        if sync and batch_size is not None:
            raise ValueError(
                f"sync=True spans all ranks, batch_size={batch_size} splits each rank's batch; "
                "choose one"
            )
        self.update_rate = update_rate
        self.batch_size = batch_size
        self.sync = sync
        self.evaluation = evaluation
        self.population = population
        self.positions = 1
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self.register_buffer("num_batches_tracked", torch.tensor(0))
        fill_from_batch_norm(self)

    @property
    def uses_batch(self) -> bool:
        """Return whether the next input is normalized by batch statistics."""
        return self.training or self.evaluation == "batch"

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized input; in training, update the running statistics."""
        self.check_input(x)
        self.positions = x.shape[2:].numel()
        return normalize(x, self.rule)

    def check_input(self, x: Tensor) -> None:
        """Raise ValueError unless x is (N, C, *spatial), with enough values for its statistics."""
        check_channels(x, self.num_features)
        if self.uses_batch and not (self.sync and is_distributed()):
            check_batch(x, self.batch_size)

    @compiled_by(
        lambda norm: norm.compiled_rule(norm.tables, (norm.weight, norm.bias)),
        *("tables", *STATISTICS),
    )
    def rule(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return batch norm's scale and shift."""
        return self.tables(self.statistics, mean, variance, self.weight, self.bias)

    def tables(
        self,
        statistics: Statistics,
        mean: Tensor,
        variance: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Return batch norm's scale and shift by given statistics and parameters."""
        return affine_coefficients(*statistics(mean, variance), self.eps, weight, bias)

    def compiled_rule(
        self,
        tables: Callable[..., tuple[Tensor, Tensor]],
        parameters: Sequence[Tensor | None],
        **options: Any,
    ) -> PooledRule | None:
        """Return a compiled rule for batch statistics of this process, and None for others.

        `tables` is the rule as a function of statistics, mean, variance and parameters.
        """
        if not self.uses_batch or self.sync:
            return None
        return PooledRule(
            partial(tables, self.own_statistics),
            tuple(parameters),
            samples=self.batch_size,
            eps=self.eps,
            observe=self._observe_batches if self.training else None,
            **options,
        )

    def statistics(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and variance that normalize, broadcastable to (N, C).

        In training it updates the population statistics, so a rule calls it only once. It takes
        instance moments (N, C); the means may be any function of them.
        """
        if not self.uses_batch:
            return self.running_mean.to(mean.dtype), self.running_var.to(mean.dtype)
        moments = self.batch_moments(mean, variance)
        if self.training:
            self.observe(BatchMoments(*(t.detach() for t in moments)))
        return self.by_sample(moments, len(mean))

    def own_statistics(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return the statistics of the batch, as :meth:`statistics`, without an update."""
        return self.by_sample(self.batch_moments(mean, variance), len(mean))

    def by_sample(self, moments: BatchMoments, samples: int) -> tuple[Tensor, Tensor]:
        """Return the mean and variance of the batch of each sample, broadcastable to (N, C)."""
        if len(moments.mean) == 1:
            return moments.mean, moments.variance
        chunks = (table.repeat_interleave(self.batch_size or samples, 0) for table in moments[:2])
        batch_mean, batch_variance = (table[:samples] for table in chunks)
        return batch_mean, batch_variance

    def batch_moments(self, mean: Tensor, variance: Tensor) -> BatchMoments:
        """Return the statistics of each batch that shares them, from instance moments (N, C)."""
        if self.batch_size is not None and len(mean) > self.batch_size:
            return moments_in_chunks(mean, variance, self.positions, self.batch_size)
        moments = moments_of(mean, variance, self.positions)
        return pool_over_ranks(moments) if self.sync else moments

    def observe(self, moments: BatchMoments) -> None:
        """Update the running statistics with the average over K batches."""
        self.num_batches_tracked.add_(1)
        share = moments.values / moments.values.sum()
        unbiased = moments.variance * moments.values / (moments.values - 1).clamp(min=1)
        self._follow((share * moments.mean).sum(0), (share * unbiased).sum(0))

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics towards those of the batch that was just counted."""
        rate = self.rate_of_new_batch()
        for running, new in ((self.running_mean, mean), (self.running_var, variance)):
            running.lerp_(new.to(running.dtype), rate)

    def _observe_batches(self, samples: int, mean: Tensor, variance: Tensor) -> None:
        """Update the running statistics with those of the chunks of a batch, each (K, C)."""
        size = self.batch_size or samples
        is_own = getattr(self.observe, "__func__", None) is BatchStatisticsNorm.observe
        if len(mean) == 1 and is_own:  # the same in fewer operations
            self.num_batches_tracked.add_(1)
            values = samples * self.positions
            self._follow(mean[0], variance[0].mul(values).div_(max(1, values - 1)))
            return
        parts = mean.new_full((len(mean), 1), size * self.positions)
        if samples % size:
            parts[-1] = samples % size * self.positions
        self.observe(BatchMoments(mean, variance, parts))

    def rate_of_new_batch(self) -> float | Tensor:
        """Return the weight in [0, 1] of the batch that was just counted."""
        if self.population == "cumulative":
            return 1 / self.num_batches_tracked.to(self.running_mean.dtype)
        return self.update_rate

    def extra_repr(self) -> str:
        """Return the size and the options that the printed module shows."""
        policies = (name for name, usual in UNSHOWN.items() if getattr(self, name) != usual)
        return self.shown("eps", "update_rate", "affine", *policies, *self.printed)
