"""Channel-first norms for tensors that keep their channels in the last axis."""

from torch import Tensor

from ssl_norm.norms.swap.around_norm import AroundNorm


class ChannelsLast(AroundNorm):
    """Apply a norm of (N, C, *spatial) tensors to (N, *spatial, C) ones, such as ViT's tokens.

    Args:
        norm: the norm; its space is all axes between the first and the last.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized (N, *spatial, C)."""
        y: Tensor = self.norm(x.movedim(-1, 1))
        return y.movedim(1, -1)
