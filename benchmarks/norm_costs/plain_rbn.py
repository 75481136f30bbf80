"""Plain transcription of representative batch normalization, as a baseline."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PlainRepresentativeBatchNorm2d(nn.Module):
    """RBN as in its equations, with plain torch operations around torch's batch norm.

        centred = x + center_weight K(x)
        s = batch_norm(centred)
        y = weight s sigmoid(scale_weight K(s) + scale_bias) + bias,  K: mean over space

    Args:
        num_features: channels C.

    Shape:
        (N, C, H, W) to the same.

    Source: Gao et al., "Representative Batch Normalization with Feature Calibration", CVPR 2021.
    The published code adds into its input; this one does not.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.center_weight = _per_channel(num_features, 0.0)
        self.scale_weight = _per_channel(num_features, 0.0)
        self.scale_bias = _per_channel(num_features, 1.0)
        self.weight = _per_channel(num_features, 1.0)
        self.bias = _per_channel(num_features, 0.0)
        self.batch_norm = nn.BatchNorm2d(num_features, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the calibrated, normalized input."""
        centred = x + self.center_weight * F.adaptive_avg_pool2d(x, 1)
        standard: Tensor = self.batch_norm(centred)
        gate = torch.sigmoid(
            self.scale_weight * F.adaptive_avg_pool2d(standard, 1) + self.scale_bias
        )
        return self.weight * (standard * gate) + self.bias


def _per_channel(num_features: int, value: float) -> nn.Parameter:
    """Return a parameter (1, C, 1, 1)."""
    return nn.Parameter(torch.full((1, num_features, 1, 1), value))
