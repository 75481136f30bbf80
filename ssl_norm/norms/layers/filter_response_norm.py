"""Filter response normalization with its thresholded linear unit."""

from typing import Any

import torch
from torch import Tensor, nn

from ssl_norm.norms.core import Eps, Map, RuleNorm, normalize
from ssl_norm.norms.input_checks import check_channels
from ssl_norm.norms.kernels import dispatch

THRESHOLDED = Map(
    lambda x, scale, shift, floor: torch.maximum(scale * x + shift, floor),
    dispatch.THRESHOLDED,
    kept=3,
)


class FilterResponseNorm(RuleNorm):
    """Divide each channel of a sample by its root mean square over space, then cut off below.

    Nothing is centred. The maximum of the equation is the thresholded linear unit of the paper, a
    nonlinearity that starts as ReLU and replaces it; a ReLU after it undoes thresholds below 0.

    On (N, C) inputs, as in MLP heads, the mean square is x^2: y = weight x / sqrt(x^2 + eps) + bias
    is little more than the sign of x, with hardly a gradient where |x| is far above sqrt(eps) =
    0.001. The paper learns eps for maps of one position; here it is fixed, so raise it to about the
    mean square of the inputs there.

    Args:
        eps: added to the mean square, inside the root.
        threshold: whether to cut off at a learned threshold, (C,), initially 0; False: only
            normalize.
        **options: affine, see :class:`ssl_norm.norms.core.Norm`.

    Source: Singh & Krishnan, arXiv 1911.09737.
    """

    equation = (
        "y = max(gamma x / sqrt(Q + eps) + beta, tau); Q: mean of x^2 over space, tau learned"
    )
    nonlinear = True
    affine_parameters = ("weight", "bias")

    def __init__(
        self, num_features: int, *, eps: Eps = 1e-6, threshold: bool = True, **options: Any
    ) -> None:
        super().__init__(num_features, eps=eps, **options)
        self.threshold = nn.Parameter(torch.zeros(num_features)) if threshold else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized input, cut off below the thresholds."""
        floor = self.threshold
        if floor is None:
            return super().forward(x)
        check_channels(x, self.num_features)
        return normalize(x, lambda *moments: (*self.rule(*moments), floor), THRESHOLDED)

    def rule(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inverse root mean square of each instance, with weight and bias."""
        scale = (variance + mean.square() + self.eps).rsqrt()
        return self.times_weight(scale), self.plus_bias(mean.new_zeros(()))

    def extra_repr(self) -> str:
        """Return the size and the options that the printed module shows."""
        return f"{super().extra_repr()}, threshold={self.threshold is not None}"
