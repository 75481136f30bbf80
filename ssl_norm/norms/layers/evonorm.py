"""EvoNorm: norms with a nonlinearity, found by architecture search."""

from typing import Any

import torch
from torch import Tensor, nn

from ssl_norm.norms.batch.batch_statistics import BatchStatisticsNorm
from ssl_norm.norms.core import Eps, RuleNorm, normalize
from ssl_norm.norms.input_checks import check_channels
from ssl_norm.norms.kernels.tables import over_space, table_dtype
from ssl_norm.norms.layers.group_norm import group_moments
from ssl_norm.norms.layers.groups import Groups, check_groups, default_groups


class EvoNormS0(RuleNorm):
    """Gate each value by itself and divide by the standard deviation of its group of channels.

    y = weight x sigmoid(v x) / sqrt(V + eps) + bias, with V the biased variance over the C / groups
    channels of a group and all positions of a sample; nothing is centred. The gate is a
    nonlinearity (v = 1 is SiLU, 0 half the input): the norm replaces a norm and its activation.

    Args:
        groups: number of groups; must divide C. None: the largest divisor of C up to 32.
        **options: eps and affine, see :class:`ssl_norm.norms.core.Norm`; `affine=False` leaves v,
            from 1.

    Raises:
        ValueError: `groups` does not divide C, or a group holds a single value.

    Source: Liu et al., arXiv 2004.02967. timm's EvoNorm2dS0, whose state_dict this one loads, takes
        only 2d inputs, and float32 statistics of float64 inputs.
    """

    equation = (
        "y = gamma x sigmoid(v x) / sqrt(V + eps) + beta; V over a group and space, per sample"
    )
    nonlinear = True
    affine_parameters = ("weight", "bias")
    printed = ("groups", "eps", "affine")

    def __init__(self, num_features: int, *, groups: Groups = None, **options: Any) -> None:
        super().__init__(num_features, **options)
        self.groups = default_groups(num_features) if groups is None else groups
        check_groups(num_features, self.groups)
        self.v = nn.Parameter(torch.ones(num_features))

    def forward(self, x: Tensor) -> Tensor:
        """Return the gated and normalized input."""
        check_channels(x, self.num_features)
        if x.shape[1:].numel() == self.groups:
            raise ValueError(
                f"{self.groups} groups of an input of shape {tuple(x.shape)} hold one value each, "
                "which has no deviation; use fewer groups"
            )
        values = x.to(table_dtype(x))
        gate = torch.sigmoid(over_space(self.v.to(values.dtype), x) * values)
        y = gate * normalize(values, self.rule)
        if self.bias is not None:
            y = y + over_space(self.bias.to(values.dtype), x)
        return y.to(x.dtype)

    def rule(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weighted inverse deviation of each group, and no shift."""
        _, group_variance = group_moments(mean, variance, self.groups)
        return self.times_weight((group_variance + self.eps).rsqrt()), mean.new_zeros(())


class EvoNormB0(BatchStatisticsNorm):
    """Divide by the deviation of the batch or, if larger, of the instance plus v times the value.

    y = weight x / max(sqrt(V + eps), v x + sqrt(I + eps)) + bias, with V and I the biased variances
    of a channel over the batch and over the positions of one sample; nothing is centred. The
    maximum is a nonlinearity: it replaces a norm and its activation. In evaluation, V is the
    population variance.

    On (N, C) inputs, as in MLP heads, I is 0 and y = weight x / max(sqrt(V + eps), v x +
    sqrt(eps)): batch norm without centring, with values above sqrt(V) / v held at 1 / v.

    Args:
        eps: added to both variances, inside the roots; timm's value, the paper's is 1e-5.
        **options: the other options of :class:`BatchStatisticsNorm`; `affine=False` keeps v, from
            1.

    Source: Liu et al., arXiv 2004.02967. timm's EvoNorm2dB0, whose state_dict this one loads except
        for the mean and the count, which timm does not keep, takes only 2d inputs.
    """

    equation = (
        "y = gamma x / max(sqrt(V + eps), v x + sqrt(I + eps)) + beta; V of the batch, I over space"
    )
    nonlinear = True

    def __init__(self, num_features: int, *, eps: Eps = 1e-3, **options: Any) -> None:
        super().__init__(num_features, eps=eps, **options)
        self.v = nn.Parameter(torch.ones(num_features))

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized input; in training, move the running statistics."""
        self.check_input(x)
        self.positions = x.shape[2:].numel()
        batch_deviations: list[Tensor] = []

        def instance_denominator(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
            _, batch_variance = self.statistics(mean, variance)
            batch_deviations.append((batch_variance + self.eps).sqrt().expand_as(mean))
            return self.v, (variance + self.eps).sqrt()

        values = x.to(table_dtype(x))  # the gradient is a small difference of large terms
        denominator = normalize(values, instance_denominator)
        y = values / torch.maximum(denominator, over_space(batch_deviations[0], x))
        if self.weight is not None and self.bias is not None:
            y = torch.addcmul(over_space(self.bias, x), y, over_space(self.weight, x))
        return y.to(x.dtype)
