"""Switchable normalization: a learned mixture of instance, layer and batch statistics."""

from typing import Any

import torch
from torch import Tensor, nn

from ssl_norm.norms.batch.batch_statistics import BatchStatisticsNorm


class SwitchableNorm(BatchStatisticsNorm):
    """Normalize by a learned mixture of the statistics of instance, layer and batch norm.

        y = weight (x - sum_k p_k E_k) / sqrt(sum_k q_k V_k + eps) + bias

    k runs over instance, layer and batch norm. p and q are the softmax of `mean_logits` and of
    `variance_logits`, each (3,) in this order; they are learned, initially equal. All variances are
    biased. The options apply to the batch statistics; evaluation uses population statistics.

    On (N, C) inputs, as in MLP heads, the instance statistics are x and 0: their share of p shrinks
    the output and their share of q grows it.

    Args:
        **options: those of :class:`BatchStatisticsNorm`; `affine=False` keeps the logits.

    Source: Luo et al., arXiv 1806.10779. The authors' code takes the unbiased variance of each
    instance.
    """

    equation = (
        "y = gamma (x - E) / sqrt(V + eps) + beta; E, V: learned mixtures of those of in, ln, bn"
    )

    def __init__(self, num_features: int, **options: Any) -> None:
        super().__init__(num_features, **options)
        self.mean_logits = nn.Parameter(torch.zeros(3))
        self.variance_logits = nn.Parameter(torch.zeros(3))

    def rule(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scale and shift that standardize by the mixed statistics."""
        layer_mean = mean.mean(1, keepdim=True)
        layer_variance = variance.mean(1, keepdim=True) + mean.var(1, correction=0, keepdim=True)
        batch_mean, batch_variance = self.statistics(mean, variance)
        p = self.mean_logits.to(mean.dtype).softmax(0)
        q = self.variance_logits.to(mean.dtype).softmax(0)
        return self.coefficients(
            p[0] * mean + p[1] * layer_mean + p[2] * batch_mean,
            q[0] * variance + q[1] * layer_variance + q[2] * batch_variance,
        )
