"""Root mean square normalization."""

from torch import Tensor

from ssl_norm.norms.core import RuleNorm


class RMSNorm(RuleNorm):
    """Divide each sample by its root mean square over channels and space.

    y = weight x / sqrt(mean(x^2) + eps). Nothing is centred, and there is no bias.

    On (N, C) inputs, as in MLP heads, this is torch's RMSNorm over C. On (N, C, *spatial) inputs
    the mean square spans space as well, as :class:`ssl_norm.norms.layers.group_norm.LayerNorm`
    does; timm's RmsNorm2d takes one mean square per position, over channels only.

    Source: Zhang & Sennrich, arXiv 1910.07467.
    """

    equation = "y = gamma x / sqrt(Q + eps); Q: mean of x^2 over channels and space, per sample"
    affine_parameters = ("weight",)

    def rule(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inverse root mean square of each sample, and no shift."""
        mean_square = (variance + mean.square()).mean(1, keepdim=True)
        return self.times_weight((mean_square + self.eps).rsqrt()), mean.new_zeros(())
