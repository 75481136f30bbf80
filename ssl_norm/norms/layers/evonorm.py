"""EvoNorm: norms with a nonlinearity, found by architecture search."""

from typing import Any

import torch
from torch import Tensor, nn

from ssl_norm.norms.batch.batch_statistics import BatchStatisticsNorm
from ssl_norm.norms.core import Eps, Map, Norm, normalize
from ssl_norm.norms.input_checks import check_channels
from ssl_norm.norms.kernels import dispatch
from ssl_norm.norms.layers.group_norm import group_moments
from ssl_norm.norms.layers.groups import Groups, check_groups, default_groups

GATED = Map(
    lambda x, scale, v, shift: scale * (x * torch.sigmoid(v * x)) + shift, dispatch.GATED, kept=2
)
BOUNDED = Map(
    lambda x, weight, v, instance, batch, bias: (
        weight * (x / torch.maximum(v * x + instance, batch)) + bias
    ),
    dispatch.BOUNDED,
    kept=4,
)


class EvoNormS0(Norm):
    """Gate each value by itself and divide by the standard deviation of its group of channels.

    V of the equation is the biased variance; nothing is centred. The gate is a nonlinearity (v = 1
    is SiLU, 0 half the input): the norm replaces a norm and its activation.

    Args:
        groups: number of groups; must divide C. None: the largest divisor of C up to 32.
        **options: eps and affine, see :class:`ssl_norm.norms.core.Norm`; `affine=False` keeps v,
            which is initially 1.

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
        return normalize(x, self.gated_rule, GATED)

    def gated_rule(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, ...]:
        """Return the weighted inverse deviation of each group, v and the bias."""
        _, group_variance = group_moments(mean, variance, self.groups)
        scale = self.times_weight((group_variance + self.eps).rsqrt())
        return scale, self.v, self.plus_bias(mean.new_zeros(()))


class EvoNormB0(BatchStatisticsNorm):
    """Divide by the deviation of the batch or, if larger, of the instance plus v times the value.

    V and I of the equation are biased variances of a channel; nothing is centred. The maximum is a
    nonlinearity: it replaces a norm and its activation. In evaluation, V is the population
    variance.

    On (N, C) inputs, as in MLP heads, I is 0 and y = weight x / max(sqrt(V + eps), v x +
    sqrt(eps)): batch norm without centring, with values above sqrt(V) / v held at 1 / v.

    Args:
        eps: added to both variances, inside the roots; timm's value, the paper's is 1e-5.
        **options: the other options of :class:`BatchStatisticsNorm`; `affine=False` keeps v, which
            is initially 1.

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
        """Return the normalized input; in training, update the running statistics."""
        self.check_input(x)
        self.positions = x.shape[2:].numel()
        return normalize(x, self.bounded_rule, BOUNDED)

    def bounded_rule(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, ...]:
        """Return the weight, v, the deviations of the instance and of the batch, and the bias."""
        _, batch_variance = self.statistics(mean, variance)
        deviations = (variance + self.eps).sqrt(), (batch_variance + self.eps).sqrt()
        weight, bias = self.times_weight(mean.new_ones(())), self.plus_bias(mean.new_zeros(()))
        return weight, self.v, *deviations, bias
