"""Batch normalization whose statistics are constants."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_norm.norms.batch.batch_norm_checkpoints import keep_what_batch_norm_has_not
from ssl_norm.norms.input_checks import check_channels


class FrozenBatchNorm(nn.Module):
    """Normalize each channel by given statistics, in training as in evaluation (torch's own kernel).

    y = weight (x - running_mean) / sqrt(running_var + eps) + bias. The statistics are those of the
    checkpoint that is loaded, 0 and 1 without one, and nothing here moves them; the samples of a
    batch do not mix. The state_dict has BatchNorm's keys, so that its checkpoints load.
    :func:`ssl_norm.norms.batch.freezing.freeze_statistics` does the same to the batch norms of a model
    in the middle of its training.

    On (N, C) inputs, as in MLP heads, it is the same affine map per channel: nothing keeps the
    outputs from collapsing to a constant.

    Args:
        num_features: channels C.
        eps: added to the variance, inside the root.
        affine: whether to learn weight and bias, each (C,), from 1 and 0.

    Shape:
        (N, C) or (N, C, *spatial) to the same.

    Source: FrozenBN of Wu & Johnson, arXiv 2105.07576, section 3. What differs from torchvision's
    FrozenBatchNorm2d: weight and bias learn, and any spatial rank.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, num_features: int, *, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(num_features)) if affine else None
        self.bias = nn.Parameter(torch.zeros(num_features)) if affine else None
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self.register_buffer("num_batches_tracked", torch.tensor(0))
        self.register_load_state_dict_pre_hook(keep_what_batch_norm_has_not)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized input."""
        check_channels(x, self.num_features)
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )

    def extra_repr(self) -> str:
        """Return the size and the options that the printed module shows."""
        return f"{self.num_features}, eps={self.eps}, affine={self.weight is not None}"
