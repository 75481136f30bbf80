"""A norm that ends in dropout and an activation."""

from torch import Tensor, nn

from ssl_norm.norms.swap.around_norm import AroundNorm


class NormAct(AroundNorm):
    """Norm, then dropout, then activation: what stands in place of timm's BatchNormAct2d.

    Args:
        norm: the norm.
        drop: dropout; nn.Identity for none.
        act: activation; nn.Identity for none.
    """

    def __init__(self, norm: nn.Module, drop: nn.Module, act: nn.Module) -> None:
        super().__init__(norm)
        self.drop = drop
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        """Return the activation of the normalized input."""
        y: Tensor = self.act(self.drop(self.norm(x)))
        return y
