"""ActNorm: scale and offset per channel, initialized from the first batch."""

from typing import Any

import torch
from torch import Tensor, nn

from ssl_norm.distributed import is_distributed
from ssl_norm.norms.batch.batch_statistics import moments_of, pool_over_ranks
from ssl_norm.norms.core import Eps, Norm, instance_moments
from ssl_norm.norms.input_checks import check_batch, check_channels
from ssl_norm.norms.kernels.tables import over_space, table_dtype


class ActNorm(Norm):
    """Scale and shift each channel by parameters that the first training batch initializes.

    y = weight x + bias, with weight = 1 / sqrt(V + eps) and bias = -E / sqrt(V + eps) at first,
    where E and V are the mean and the biased variance of a channel over the first training batch of
    all ranks. So the first output has mean 0 and variance 1; from then on both are ordinary
    parameters, samples do not mix, and training and evaluation are the same.

    Before the first training batch it is the identity. If weight and bias already have values of a
    replaced batch norm, the first batch is normalized as by batch norm with these. An EMA copy of a
    network begins with the values of the network (:class:`ssl_norm.learners.ema.EmaTarget`).

    Args:
        eps: added to the variance, inside the root.

    Attributes:
        initialized: whether there was a training batch, a boolean tensor; in the state_dict.
        known_initialized: whether `initialized` is known to be True without asking the device.

    Source: Kingma & Dhariwal, arXiv 1807.03039, section 3.1 (which adds eps outside the root, and
    the offset before the scale), after Salimans & Kingma, arXiv 1602.07868, section 3.
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
        self.known_initialized = False

    def forward(self, x: Tensor) -> Tensor:
        """Return weight x + bias; the first training batch sets both."""
        check_channels(x, self.num_features)
        has_several = x.numel() > self.num_features or is_distributed()
        if self.training and not self.known_initialized and (has_several or not self.initialized):
            self.initialize(x)
        dtype = table_dtype(x)
        weight, bias = (over_space(p[None].to(dtype), x) for p in (self.weight, self.bias))
        return torch.addcmul(bias, weight, x).to(x.dtype)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Set weight and bias to normalize this batch as batch norm does, unless already set."""
        if not is_distributed():
            check_batch(x)
        moments = pool_over_ranks(moments_of(*instance_moments(x), x.shape[2:].numel()))
        scale = self.weight * (moments.variance[0] + self.eps).rsqrt()
        self._begin(scale, self.bias - moments.mean[0] * scale, torch.ones_like(self.initialized))

    @torch.no_grad()
    def begin_as(self, other: "ActNorm") -> None:
        """Take weight and bias of another layer, if that is initialized and this is not."""
        self._begin(other.weight, other.bias, other.initialized)
        self.known_initialized = other.known_initialized

    def _begin(self, weight: Tensor, bias: Tensor, is_initial: Tensor) -> None:
        """Set weight and bias unless this layer is initialized, without waiting for the device."""
        begins = is_initial & ~self.initialized
        for own, initial in ((self.weight, weight), (self.bias, bias)):
            own.copy_(torch.where(begins, initial.to(own.dtype), own))
        self.initialized.logical_or_(is_initial)
        self.known_initialized = True

    def _load_from_state_dict(self, *arguments: Any) -> None:
        self.known_initialized = False
        super()._load_from_state_dict(*arguments)
