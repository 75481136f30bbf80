"""The norm `none`."""

from typing import ClassVar

from torch import nn


class NoNorm(nn.Identity):
    """Identity: y = x.

    Args:
        num_features: channels C, of any number.
    """

    equation: ClassVar[str] = "y = x"
    mixes_samples: ClassVar[bool] = False
    vectors: ClassVar[bool] = True
    nonlinear: ClassVar[bool] = False

    def __init__(self, num_features: int) -> None:
        super().__init__()
