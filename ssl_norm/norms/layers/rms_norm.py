"""Root mean square normalization of one sample at a time."""

import torch
from torch import Tensor, nn

from ssl_norm.norms.core import RuleNorm


class RMSNorm(RuleNorm):
    """Divide each sample by its root mean square over channels and space.

    y = weight x / sqrt(mean(x^2) + eps). Nothing is centred, and there is no bias. Training and
    evaluation are the same.

    On (N, C) inputs, as in MLP heads, this is torch's RMSNorm over C. On (N, C, *spatial) inputs
    the mean square spans space as well, as :class:`ssl_norm.norms.layers.group_norm.LayerNorm` does;
    timm's RmsNorm2d takes one mean square per position, over channels alone.

    Args:
        num_features: channels C.
        eps: added to the mean square, inside the root.
        affine: whether to learn weight, (C,), from 1.

    Shape:
        (N, C) or (N, C, *spatial) to the same.

    Source: Zhang & Sennrich, arXiv 1910.07467.
    """

    def __init__(self, num_features: int, *, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__(num_features)
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(num_features)) if affine else None

    def rule(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inverse root mean square of each sample, and no shift."""
        mean_square = (variance + mean.square()).mean(1, keepdim=True)
        scale = (mean_square + self.eps).rsqrt()
        if self.weight is not None:
            scale = scale * self.weight
        return scale, mean.new_zeros(())

    def extra_repr(self) -> str:
        """Return the size and the options that the printed module shows."""
        return f"{self.num_features}, eps={self.eps}, affine={self.weight is not None}"
