"""Norms of one sample at a time: over groups of channels, or over all of them."""

from torch import Tensor, nn

from ssl_norm.norms.groups import check_groups, default_groups
from ssl_norm.norms.input_checks import check_channels


class GroupNorm(nn.GroupNorm):
    """Normalize each group of channels of a sample over the group and space (torch's own kernel).

    y = weight (x - E) / sqrt(V + eps) + bias, with E and V the mean and the biased variance over
    the C / groups channels of a group and all positions. Training and evaluation are the same.

    Args:
        num_features: channels C. (torch's own GroupNorm takes the groups first.)
        groups: number of groups; must divide C. None: the largest divisor of C
            up to `ssl_norm.norms.groups.MOST_GROUPS`. One group is :class:`LayerNorm`.
        eps: added to the variance, inside the root.
        affine: whether to learn weight and bias, each (C,), from 1 and 0.

    Shape:
        (N, C) or (N, C, *spatial) to the same, in the same dtype under autocast, too.

    Raises:
        ValueError: `groups` does not divide C, or a group holds a single value, so that the output
            is constant.

    Source: Wu & He, arXiv 1803.08494, equations 1, 2 and 7.
    """

    def __init__(
        self,
        num_features: int,
        *,
        groups: int | None = None,
        eps: float = 1e-5,
        affine: bool = True,
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
                "value each, which becomes 0 whatever it was; use fewer groups"
            )
        return super().forward(input).to(input.dtype)


class LayerNorm(GroupNorm):
    """Normalize each sample over all its channels and positions: :class:`GroupNorm` with one group.

    For (N, C) inputs this is torch's LayerNorm over C. For (N, C, *spatial) inputs the statistics
    span space as well, unlike in transformers, where each token has its own.

    Args:
        num_features: channels C.
        eps: added to the variance, inside the root.
        affine: whether to learn weight and bias, each (C,), from 1 and 0.

    Source: Ba, Kiros & Hinton, arXiv 1607.06450; its convolutional form as in arXiv 1803.08494,
    section 3.1.
    """

    def __init__(self, num_features: int, *, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__(num_features, groups=1, eps=eps, affine=affine)
