"""Group and layer normalization."""

from torch import Tensor, nn

from ssl_norm.norms.batch.batch_statistics import pool
from ssl_norm.norms.core import Eps, affine_coefficients, normalize
from ssl_norm.norms.input_checks import check_channels
from ssl_norm.norms.kernels.pooled import PooledRule, compiled_by
from ssl_norm.norms.kernels.tables import kernel_takes
from ssl_norm.norms.layers.groups import Groups, check_groups, default_groups


def group_moments(mean: Tensor, variance: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance of the group of each channel, all tables (N, C)."""
    channels = mean.shape[1] // groups
    in_groups = (table.reshape(len(table), groups, channels, 1) for table in (mean, variance))
    pooled = (table.flatten(1) for table in pool(*in_groups))  # (N, G)
    group_mean, group_variance = (table.repeat_interleave(channels, 1) for table in pooled)
    return group_mean, group_variance


class GroupNorm(nn.GroupNorm):
    """Normalize each group of channels of a sample over the group and space.

    E and V of the equation are the mean and the biased variance. Torch's kernel computes it, except
    for inputs on a CPU that are not contiguous (channels_last): there torch takes V as
    mean(x^2) - E^2, which is wrong by a tenth of a deviation if E is 100 deviations, so
    :mod:`ssl_norm.norms.core` computes it.

    Args:
        num_features: channels C. (torch's own GroupNorm takes the groups first.)
        groups: number of groups; must divide C. None: the largest divisor of C
            up to `ssl_norm.norms.layers.groups.MOST_GROUPS`. One group is :class:`LayerNorm`.
        eps: added to the variance, inside the root.
        affine: whether to learn weight and bias, each (C,), from 1 and 0.

    Shape:
        (N, C) or (N, C, *spatial) to the same; the dtype stays the same under autocast.

    Source: Wu & He, arXiv 1803.08494, equations 1, 2 and 7.
    """

    equation = "y = gamma (x - E) / sqrt(V + eps) + beta; E, V over a group and space, per sample"

    def __init__(
        self, num_features: int, *, groups: Groups = None, eps: Eps = 1e-5, affine: bool = True
    ) -> None:
        if groups is None:
            groups = default_groups(num_features)
        check_groups(num_features, groups)
        super().__init__(groups, num_features, eps=eps, affine=affine)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Return the normalized input."""
        check_channels(input, self.num_channels)
        if input[0:1].numel() == self.num_groups:
            raise ValueError(
                f"{self.num_groups} groups of an input of shape {tuple(input.shape)} hold one "
                "value each, so the norm makes every value 0; use fewer groups"
            )
        is_exact = input.device.type != "cpu" or input.is_contiguous()
        if not is_exact or not kernel_takes(input, self.weight):
            return normalize(input, self.rule)
        return super().forward(input).to(input.dtype)

    @compiled_by(
        lambda norm: PooledRule(
            norm.tables,
            (norm.weight, norm.bias),
            samples=1,
            channels=norm.num_channels // norm.num_groups,
            eps=norm.eps,
        ),
        "tables",
    )
    def rule(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return scale and shift from the instance moments (N, C)."""
        return self.tables(mean, variance, self.weight, self.bias)

    def tables(
        self, mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return scale and shift by given parameters."""
        moments = group_moments(mean, variance, self.num_groups)
        return affine_coefficients(*moments, self.eps, weight, bias)


class LayerNorm(GroupNorm):
    """Normalize each sample over all its channels and positions: :class:`GroupNorm` with one group.

    For (N, C) inputs this is torch's LayerNorm over C. For (N, C, *spatial) inputs the statistics
    span space as well, unlike in transformers, where each token has its own.

    Args:
        eps: added to the variance, inside the root.
        affine: whether to learn weight and bias, each (C,), from 1 and 0.

    Source: Ba, Kiros & Hinton, arXiv 1607.06450; its convolutional form as in arXiv 1803.08494,
    section 3.1.
    """

    equation = "y = gamma (x - E) / sqrt(V + eps) + beta; E, V over channels and space, per sample"

    def __init__(self, num_features: int, *, eps: Eps = 1e-5, affine: bool = True) -> None:
        super().__init__(num_features, groups=1, eps=eps, affine=affine)
