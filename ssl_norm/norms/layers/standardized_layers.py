"""Convolutions and linear layers with standardized weights."""

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd


def standardized_weight(weight: Tensor, eps: float = 1e-6) -> Tensor:
    """Return the weight with mean 0 and variance 1 over the fan-in of each output channel.

        w'[o] = (w[o] - E[o]) / sqrt(V[o] + eps)

    E and V are the mean and the biased variance over (C_in / groups, *kernel). The unbiased
    deviation that imbue's self_supervised divides by (plus 1e-5, outside the root) makes weights
    smaller by sqrt(1 - 1 / fan_in), 2 % at a fan-in of 27, which the norm that follows cancels.

    Args:
        weight: (C_out, C_in / groups, *kernel), or (C_out, C_in) of a linear layer.
        eps: added to the variance, inside the root.

    Returns:
        Like weight; zero for an output channel whose weights are all equal.

    Source: Qiao et al., "Micro-Batch Training with Batch-Channel Normalization and Weight
    Standardization", arXiv 1903.10520; variance and eps as in timm 1.0's StdConv2d.
    """
    rows = weight.flatten(1)
    return F.layer_norm(rows, rows.shape[1:], eps=eps).view_as(weight).to(weight.dtype)


class StandardizedWeights:
    """Marks the classes below; `plain_class` is the one without standardization."""

    plain_class: type[nn.Module]


class _StandardizedConv(StandardizedWeights, _ConvNd):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Return the convolution with the standardized weight."""
        return self._conv_forward(input, standardized_weight(self.weight), self.bias)


class StandardizedConv1d(_StandardizedConv, nn.Conv1d):
    """Conv1d with :func:`standardized_weight`; `weight` remains the raw parameter."""

    plain_class = nn.Conv1d


class StandardizedConv2d(_StandardizedConv, nn.Conv2d):
    """Conv2d with :func:`standardized_weight`; `weight` remains the raw parameter."""

    plain_class = nn.Conv2d


class StandardizedConv3d(_StandardizedConv, nn.Conv3d):
    """Conv3d with :func:`standardized_weight`; `weight` remains the raw parameter."""

    plain_class = nn.Conv3d


class StandardizedLinear(StandardizedWeights, nn.Linear):
    """Linear layer with :func:`standardized_weight`; `weight` remains the raw parameter."""

    plain_class = nn.Linear

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Return the product with the standardized weight."""
        return F.linear(input, standardized_weight(self.weight), self.bias)


STANDARDIZED: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: StandardizedConv1d,
    nn.Conv2d: StandardizedConv2d,
    nn.Conv3d: StandardizedConv3d,
    nn.Linear: StandardizedLinear,
}
