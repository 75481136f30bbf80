"""Representative batch normalization: batch norm calibrated by each instance's own mean."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from ssl_norm.norms.batch.batch_statistics import BatchStatisticsNorm

PUBLISHED_SCALE_BIAS = 1.0


class RepresentativeBatchNorm(BatchStatisticsNorm):
    """Normalize over batch and space, with centring and scaling calibrated by instance means.

        centred = x + center_weight * K(x)
        s = (centred - E) / sqrt(V + eps)
        y = weight * s * sigmoid(scale_weight * K(s) + scale_bias) + bias

    K is the mean over space of each instance and channel; E and V are the mean and the biased
    variance of `centred`, and so are the running statistics. The three calibration weights, each
    (C,), start as published from 0, 0 and 1, so that the output is sigmoid(1) = 0.731 times that of
    batch norm. Checkpoints of batch norm load (strictly) and leave the calibration weights alone.

    On (N, C) inputs, as in MLP heads, K(x) is x itself: centring multiplies x by
    1 + center_weight, which the normalization cancels (up to its sign and eps), and
    y = weight * s * sigmoid(scale_weight * s + scale_bias) + bias remains.

    Args:
        identity_init: divide by sigmoid(1), so that the norm starts as batch norm exactly.
        **options: those of :class:`BatchStatisticsNorm`; `affine=False` leaves the calibration
            weights.

    Source: Gao et al., "Representative Batch Normalization with Feature Calibration", CVPR 2021.
    What differs: the published code adds into its input, takes 2d inputs only and no
    `identity_init`.
    """

    equation = (
        "s = bn(x + w_m K(x)); y = gamma s sigmoid(w_v K(s) + w_b) + beta; K: mean over space"
    )

    def __init__(self, num_features: int, *, identity_init: bool = False, **options: Any) -> None:
        super().__init__(num_features, **options)
        self.identity_init = identity_init
        self.center_weight = nn.Parameter(torch.zeros(num_features))
        self.scale_weight = nn.Parameter(torch.zeros(num_features))
        self.scale_bias = nn.Parameter(torch.full((num_features,), PUBLISHED_SCALE_BIAS))

    def rule(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return scale and shift: batch norm's of `centred`, times the calibration."""
        centred_mean = mean + self.center_weight * mean
        batch_mean, batch_variance = self.statistics(centred_mean, variance)
        deviation = centred_mean - batch_mean
        inverse = (batch_variance + self.eps).rsqrt()
        # K(s) is deviation * inverse; in this order autograd keeps two tables (N, C) fewer.
        gate = torch.sigmoid(deviation * (inverse * self.scale_weight) + self.scale_bias)
        if self.identity_init:
            inverse = inverse * (1 + math.exp(-PUBLISHED_SCALE_BIAS))
        scale = self.times_weight(inverse) * gate
        return scale, self.plus_bias(scale * deviation - scale * mean)
