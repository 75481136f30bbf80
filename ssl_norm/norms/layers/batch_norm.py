"""Batch normalization for inputs of any rank."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_norm.norms.batch.batch_statistics import BatchStatisticsNorm, Samples
from ssl_norm.norms.input_checks import check_batch, check_channels
from ssl_norm.norms.kernels.tables import kernel_takes


class BatchNorm(BatchStatisticsNorm):
    """Normalize each channel over batch and space.

    y = weight (x - E) / sqrt(V + eps) + bias, with E and V the mean and the biased variance of a
    channel over (N, *spatial) in training, and the running statistics in evaluation. The running
    variance averages the unbiased variance, as torch does. Torch's kernel computes whole batches of
    one process; :mod:`ssl_norm.norms.core` computes ghost and synchronized batches. Options:
    :class:`BatchStatisticsNorm`.

    Source: Ioffe & Szegedy, arXiv 1502.03167, algorithms 1 and 2.
    """

    equation = "y = gamma (x - E) / sqrt(V + eps) + beta; E, V over batch and space, per channel"

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized input; in training, update the running statistics."""
        of_parts = self.uses_batch and (self.sync or self.batch_size is not None)
        on_host = x.device.type == "cpu" and not torch.compiler.is_compiling()
        waits = self.training and self.population == "cumulative" and not on_host  # for the count
        if of_parts or waits or not kernel_takes(x, self.running_mean):
            return super().forward(x)
        check_channels(x, self.num_features)
        if self.uses_batch:
            check_batch(x)
        rate = 0.0
        if self.training:
            self.num_batches_tracked.add_(1)
            rate = float(self.rate_of_new_batch())
        keeps = self.training or not self.uses_batch
        return F.batch_norm(
            x,
            self.running_mean if keeps else None,
            self.running_var if keeps else None,
            self.weight,
            self.bias,
            training=self.uses_batch,
            momentum=rate,
            eps=self.eps,
        )


class GhostBatchNorm(BatchNorm):
    """:class:`BatchNorm` over chunks of 32 consecutive samples.

    Args:
        batch_size: number of samples in a ghost batch; the last one may be smaller.
        **options: the other options of :class:`BatchStatisticsNorm`.

    Source: Hoffer et al., arXiv 1705.08741.
    """

    equation = "bn over chunks of batch_size consecutive samples, 32 by default"

    def __init__(self, num_features: int, *, batch_size: Samples = 32, **options: Any) -> None:
        super().__init__(num_features, batch_size=batch_size, **options)
