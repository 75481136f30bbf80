"""Batch renormalization: batch norm, corrected towards the running statistics."""

from typing import Annotated, Any

import torch
from annotated_types import Interval
from torch import Tensor

from ssl_norm.norms.batch.batch_statistics import BatchStatisticsNorm


class BatchRenorm(BatchStatisticsNorm):
    """Normalize by the batch, then correct the result towards the output in evaluation.

        y = weight ((x - E) / s r + d) + bias,  s = sqrt(V + eps)
        r = s / S clipped to [1 / r_limit, r_limit];  d = (E - M) / S clipped to [-d_limit, d_limit]

    E and V are those of the batch, M and S the running mean and deviation before this batch updates
    them; r and d are constants of the gradient. Within the limits, the output equals that in
    evaluation, and samples of a batch affect each other only through the gradient. The limits are 1
    and 0 during the warm-up, which is plain batch norm, and then rise linearly to `r_max` and
    `d_max`. Steps are batches seen, `num_batches_tracked`; each ghost batch has its own r and d.

    Args:
        r_max: largest factor r, at least 1; 1 disables r.
        d_max: largest shift, in running deviations, at least 0; 0 disables d.
        warmup_steps: batches before the limits begin to rise.
        r_ramp_steps: batches that the limit of r takes to rise.
        d_ramp_steps: batches that the limit of d takes to rise.
        **options: those of :class:`BatchStatisticsNorm`.

    Source: Ioffe, arXiv 1702.03275, algorithm 1; the schedule is that of its experiments. As in
    batch norm, the running variance is averaged here; the paper averages s.
    """

    equation = (
        "y = gamma (r (x - E) / sqrt(V + eps) + d) + beta; r, d: clipped, towards evaluation's y"
    )
    printed = ("r_max", "d_max", "warmup_steps", "r_ramp_steps", "d_ramp_steps")

    def __init__(
        self,
        num_features: int,
        *,
        r_max: Annotated[float, Interval(ge=1, le=1e6)] = 3.0,
        d_max: Annotated[float, Interval(ge=0, le=1e6)] = 5.0,
        warmup_steps: Annotated[int, Interval(ge=0, le=10**9)] = 5000,
        r_ramp_steps: Annotated[int, Interval(ge=1, le=10**9)] = 35000,
        d_ramp_steps: Annotated[int, Interval(ge=1, le=10**9)] = 20000,
        **options: Any,
    ) -> None:
        super().__init__(num_features, **options)
        self.r_max = r_max
        self.d_max = d_max
        self.warmup_steps = warmup_steps
        self.r_ramp_steps = r_ramp_steps
        self.d_ramp_steps = d_ramp_steps

    def limits(self) -> tuple[Tensor, Tensor]:
        """Return the limits of r and d for the next batch, scalars on the device."""
        steps = (self.num_batches_tracked - self.warmup_steps).double()
        r_limit = 1 + (self.r_max - 1) * (steps / self.r_ramp_steps).clamp(0, 1)
        d_limit = self.d_max * (steps / self.d_ramp_steps).clamp(0, 1)
        return r_limit, d_limit

    def rule(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scale and shift of batch norm; in training they include the correction."""
        if not self.training:
            return super().rule(mean, variance)
        r_limit, d_limit = (limit.to(mean.dtype) for limit in self.limits())
        running_mean = self.running_mean.to(mean.dtype, copy=True)
        running_deviation = (self.running_var.to(mean.dtype) + self.eps).sqrt()
        batch_mean, batch_variance = self.statistics(mean, variance)
        with torch.no_grad():
            r = (batch_variance + self.eps).sqrt() / running_deviation
            r = r.clamp(1 / r_limit, r_limit)
            d = (batch_mean - running_mean) / running_deviation
            d = d.clamp(-d_limit, d_limit)
        scale = r * (batch_variance + self.eps).rsqrt()
        shift = d - batch_mean * scale
        return self.times_weight(scale), self.plus_bias(self.times_weight(shift))
