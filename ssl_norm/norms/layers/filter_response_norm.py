"""Filter response normalization with its thresholded linear unit."""

import torch
from torch import Tensor, nn

from ssl_norm.norms.core import RuleNorm
from ssl_norm.norms.kernels.tables import over_space


class FilterResponseNorm(RuleNorm):
    """Divide each channel of a sample by its root mean square over space, then cut off below.

    y = max(weight x / sqrt(mean(x^2) + eps) + bias, threshold), with the mean over the positions of
    a channel of a sample; nothing is centred. Training and evaluation are the same.

    The maximum is the paper's thresholded linear unit, a nonlinearity of the norm's own: it starts
    as ReLU and stands in the place of one; a ReLU after it undoes thresholds below 0.

    On (N, C) inputs, as in MLP heads, the mean square is x^2, so that little more than the sign of
    x is left, weight x / sqrt(x^2 + eps) + bias, and hardly a gradient where |x| is far above
    sqrt(eps) = 0.001. The paper learns eps for such maps of one position; here it is fixed, so
    raise it to about the mean square of the inputs there.

    Args:
        num_features: channels C.
        eps: added to the mean square, inside the root.
        affine: whether to learn weight and bias, each (C,), from 1 and 0.
        threshold: whether to cut off at a learned threshold, (C,), from 0; False leaves the norm
            alone.

    Shape:
        (N, C) or (N, C, *spatial) to the same.

    Source: Singh & Krishnan, arXiv 1911.09737.
    """

    def __init__(
        self,
        num_features: int,
        *,
        eps: float = 1e-6,
        affine: bool = True,
        threshold: bool = True,
    ) -> None:
        super().__init__(num_features)
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(num_features)) if affine else None
        self.bias = nn.Parameter(torch.zeros(num_features)) if affine else None
        self.threshold = nn.Parameter(torch.zeros(num_features)) if threshold else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized input, cut off below the thresholds."""
        y = super().forward(x)
        if self.threshold is None:
            return y
        return torch.maximum(y, over_space(self.threshold.to(y.dtype), y))

    def rule(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inverse root mean square of each instance, with weight and bias."""
        scale = (variance + mean.square() + self.eps).rsqrt()
        if self.weight is not None:
            scale = scale * self.weight
        return scale, mean.new_zeros(()) if self.bias is None else self.bias

    def extra_repr(self) -> str:
        """Return the size and the options that the printed module shows."""
        affine, threshold = self.weight is not None, self.threshold is not None
        return f"{self.num_features}, eps={self.eps}, affine={affine}, threshold={threshold}"
