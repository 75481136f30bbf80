"""Batch normalization whose statistics are constants."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_norm.norms.batch.batch_norm_checkpoints import fill_from_batch_norm
from ssl_norm.norms.core import Norm, normalize
from ssl_norm.norms.input_checks import check_channels
from ssl_norm.norms.kernels.tables import kernel_takes


class FrozenBatchNorm(Norm):
    """Normalize each channel by constant statistics, in training and evaluation.

    They are those of a loaded checkpoint, also one of batch norm; without one they are 0 and 1.
    Samples do not mix, so in heads this norm does not prevent collapse. To freeze the batch norms
    of a model during training, use :func:`ssl_norm.norms.batch.freezing.freeze_statistics`.

    Args:
        **options: eps and affine, see :class:`ssl_norm.norms.core.Norm`.

    Source: FrozenBN of Wu & Johnson, arXiv 2105.07576, section 3. Unlike in torchvision's
    FrozenBatchNorm2d, weight and bias learn, and inputs may have any number of spatial axes.
    """

    equation = "y = gamma (x - E) / sqrt(V + eps) + beta; E, V: constants, those of a checkpoint"

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, num_features: int, **options: Any) -> None:
        super().__init__(num_features, **options)
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self.register_buffer("num_batches_tracked", torch.tensor(0))
        fill_from_batch_norm(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized input."""
        check_channels(x, self.num_features)
        if not kernel_takes(x, self.running_mean):
            return normalize(x, self.rule)
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )

    def rule(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scale and shift that standardize by the constants."""
        return self.coefficients(self.running_mean.to(mean.dtype), self.running_var.to(mean.dtype))
