"""Weight standardization of timm's own convolutions; imported only if a model holds one."""

from typing import Any

from timm.layers.conv2d_same import Conv2dSame, conv2d_same
from torch import Tensor, nn

from ssl_norm.norms.layers.weight_standardization import StandardizedWeights, standardized_weight


class StandardizedConv2dSame(StandardizedWeights, Conv2dSame):
    """Conv2dSame with :func:`standardized_weight`; `weight` remains the raw parameter."""

    plain_class = Conv2dSame

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution with the standardized weight, padded as TensorFlow pads."""
        layer: Any = self  # timm annotates pairs more narrowly than torch
        y: Tensor = conv2d_same(
            x,
            standardized_weight(self.weight),
            self.bias,
            layer.stride,
            layer.padding,
            layer.dilation,
            layer.groups,
        )
        return y


STANDARDIZED_TIMM: dict[type[nn.Module], type[nn.Module]] = {Conv2dSame: StandardizedConv2dSame}
