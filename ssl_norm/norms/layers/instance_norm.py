"""Instance normalization: each channel of each sample on its own."""

import torch
from torch import Tensor, nn

from ssl_norm.norms.core import RuleNorm
from ssl_norm.norms.input_checks import check_channels


class InstanceNorm(RuleNorm):
    """Normalize each channel of a sample over space.

    y = weight (x - E) / sqrt(V + eps) + bias, with E and V the mean and the biased variance over
    the positions of a channel of a sample. Training and evaluation are the same, and no statistics
    are kept. It is group norm with C groups.

    On (N, C) inputs, as in MLP heads, every statistic is that of a single value, so that the output
    would be `bias` whatever the input was: an error here.

    Args:
        num_features: channels C.
        eps: added to the variance, inside the root.
        affine: whether to learn weight and bias, each (C,), from 1 and 0.

    Shape:
        (N, C, *spatial), of more than one position, to the same.

    Raises:
        ValueError: a channel of a sample has a single value.

    Source: Ulyanov, Vedaldi & Lempitsky, arXiv 1607.08022. What differs from torch's InstanceNorm:
    `affine` by default, any spatial rank.
    """

    def __init__(self, num_features: int, *, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__(num_features)
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(num_features)) if affine else None
        self.bias = nn.Parameter(torch.zeros(num_features)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized input."""
        check_channels(x, self.num_features)
        if x.shape[2:].numel() == 1:
            raise ValueError(
                f"an input of shape {tuple(x.shape)} has one value per channel of a sample, which "
                "instance norm makes 0 whatever it was; use another norm, such as ln, there"
            )
        return super().forward(x)

    def rule(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scale and shift that standardize by the instance moments themselves."""
        scale = (variance + self.eps).rsqrt()
        if self.weight is not None:
            scale = scale * self.weight
        shift = -mean * scale
        return scale, shift if self.bias is None else shift + self.bias

    def extra_repr(self) -> str:
        """Return the size and the options that the printed module shows."""
        return f"{self.num_features}, eps={self.eps}, affine={self.weight is not None}"
