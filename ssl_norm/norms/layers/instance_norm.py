"""Instance normalization."""

from torch import Tensor

from ssl_norm.norms.core import RuleNorm, affine_coefficients
from ssl_norm.norms.input_checks import check_channels
from ssl_norm.norms.kernels.pooled import PooledRule, compiled_by


class InstanceNorm(RuleNorm):
    """Normalize each channel of a sample over space.

    This is group norm with C groups. (N, C) inputs, as in MLP heads, have one value per channel,
    which would become `bias`; they are an error.

    Shape:
        (N, C, *spatial), of more than one position, to the same.

    Source: Ulyanov, Vedaldi & Lempitsky, arXiv 1607.08022. Unlike in torch's InstanceNorm, `affine`
    is the default, and inputs may have any number of spatial axes.
    """

    equation = "y = gamma (x - E) / sqrt(V + eps) + beta; E, V over space, per sample and channel"
    vectors = False
    affine_parameters = ("weight", "bias")

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized input."""
        check_channels(x, self.num_features)
        if x.shape[2:].numel() == 1:
            raise ValueError(
                f"an input of shape {tuple(x.shape)} has one value per channel of a sample, and "
                "instance norm would make it 0; use another norm there, such as ln"
            )
        return super().forward(x)

    @compiled_by(
        lambda norm: PooledRule(norm.tables, (norm.weight, norm.bias), samples=1, eps=norm.eps),
        "tables",
    )
    def rule(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scale and shift that standardize by the instance moments themselves."""
        return self.tables(mean, variance, self.weight, self.bias)

    def tables(
        self, mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return scale and shift by given parameters."""
        return affine_coefficients(mean, variance, self.eps, weight, bias)
