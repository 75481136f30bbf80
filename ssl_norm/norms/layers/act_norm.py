"""ActNorm: scale and offset per channel, initialized from the first batch."""

from typing import Any

import torch
from torch import Tensor, nn

from ssl_norm.distributed import is_distributed
from ssl_norm.norms.batch.batch_statistics import BatchMoments, moments_of, pool_over_ranks
from ssl_norm.norms.core import Eps, Norm
from ssl_norm.norms.input_checks import check_batch, check_channels
from ssl_norm.norms.kernels.dispatch import passes_for
from ssl_norm.norms.kernels.tables import over_space, table_dtype


class ActNorm(Norm):
    """Scale and shift each channel by parameters that the first training batch initializes.

    y = weight x + bias, with weight = 1 / sqrt(V + eps) and bias = -E / sqrt(V + eps) at first, E
    and V the mean and the biased variance of a channel over the first training batch of all ranks.
    So the first output has mean 0 and variance 1; from then on both are ordinary parameters,
    samples do not mix, and training and evaluation are the same.

    Before the first training batch it is the identity. If weight and bias have other values by
    then, those of a replaced batch norm, the first batch is normalized as by batch norm with them.
    Copies that follow a network begin with its values (:class:`ssl_norm.learners.ema.EmaTarget`).

    Args:
        eps: added to the variance, inside the root.

    Attributes:
        initialized: whether there was a training batch, a boolean tensor; in the state_dict.

    Raises:
        ValueError: the first training batch has one value per channel.

    Source: Kingma & Dhariwal, arXiv 1807.03039, section 3.1 (which adds eps outside the root, and
    the
    offset before the scale), after Salimans & Kingma, arXiv 1602.07868, section 3.
    """

    equation = (
        "y = gamma x + beta; at first bn's of the first training batch, from then on parameters"
    )
    printed = ("eps",)

    weight: nn.Parameter
    bias: nn.Parameter
    initialized: Tensor

    def __init__(self, num_features: int, *, eps: Eps = 1e-5) -> None:
        super().__init__(num_features, eps=eps)
        self.register_buffer("initialized", torch.tensor(False))
        self._known_initialized = False  # so that only the first steps ask a GPU

    def forward(self, x: Tensor) -> Tensor:
        """Return weight x + bias; the first training batch sets both."""
        check_channels(x, self.num_features)
        if self.training and not self.is_initialized():
            self.initialize(x)
        weight, bias = (over_space(p.to(x.dtype), x) for p in (self.weight[None], self.bias[None]))
        return torch.addcmul(bias, weight, x)

    def is_initialized(self) -> bool:
        """Return whether data initialized weight and bias, here or in the loaded checkpoint."""
        if not self._known_initialized:
            self._known_initialized = bool(self.initialized)
        return self._known_initialized

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Set weight and bias so that this batch is normalized as by batch norm."""
        moments = batch_moments(x)
        scale = self.weight * (moments.variance[0] + self.eps).rsqrt()
        self.weight.copy_(scale)
        self.bias.copy_(self.bias - moments.mean[0] * scale)
        self.initialized.fill_(True)

    def _load_from_state_dict(self, *arguments: Any) -> None:
        self._known_initialized = False
        super()._load_from_state_dict(*arguments)


def batch_moments(x: Tensor) -> BatchMoments:
    """Return the moments of each channel of x (N, C, *spatial), of all processes' samples together.

    Raises:
        ValueError: there is one process, and one value per channel.
    """
    if not is_distributed():
        check_batch(x)
    if x.ndim == 2:
        mean = x.to(table_dtype(x))
        variance = torch.zeros_like(mean)
    else:
        mean, variance = passes_for(x).instance_moments(x)
    return pool_over_ranks(moments_of(mean, variance, x.shape[2:].numel()))
