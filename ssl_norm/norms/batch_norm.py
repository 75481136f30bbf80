"""Batch normalization for inputs of any rank."""

from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from ssl_norm.norms.input_checks import check_batch, check_channels


class BatchNorm(_BatchNorm):
    """Normalize each channel over batch and space (torch's own kernel).

    y = weight (x - E) / sqrt(V + eps) + bias, with E and V the mean and the biased variance of a
    channel over (N, *spatial) in training, and the running statistics in evaluation. The running
    variance averages the unbiased variance, as torch does. Statistics are float32 or wider; the
    input is not altered.

    Args:
        num_features: channels C.
        eps: added to the variance, inside the root.
        update_rate: weight of the new batch in the running statistics, in [0, 1] (torch's
            `momentum`).
        affine: whether to learn weight and bias, each (C,), from 1 and 0.

    Shape:
        (N, C) or (N, C, *spatial) to the same.

    Raises:
        ValueError: in training, one value per channel.

    Source: Ioffe & Szegedy, arXiv 1502.03167, algorithms 1 and 2.
    """

    def __init__(
        self, num_features: int, *, eps: float = 1e-5, update_rate: float = 0.1, affine: bool = True
    ) -> None:
        super().__init__(num_features, eps=eps, momentum=update_rate, affine=affine)

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - torch's name
        check_channels(input, self.num_features)
        if self.training:
            check_batch(input)
