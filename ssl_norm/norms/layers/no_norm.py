"""The norm `none`."""

from torch import nn


class NoNorm(nn.Identity):
    """Identity: y = x.

    Args:
        num_features: channels C; not used.
    """

    equation = "y = x"

    def __init__(self, num_features: int) -> None:
        super().__init__()
