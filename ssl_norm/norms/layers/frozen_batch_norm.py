"""Batch normalization whose statistics are constants."""

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_norm.norms.batch.batch_norm_checkpoints import keep_what_batch_norm_has_not
from ssl_norm.norms.core import Norm
from ssl_norm.norms.input_checks import check_channels


class FrozenBatchNorm(Norm):
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
        **options: eps and affine, see :class:`ssl_norm.norms.core.Norm`.

    Shape:
        (N, C) or (N, C, *spatial) to the same.

    Source: FrozenBN of Wu & Johnson, arXiv 2105.07576, section 3. What differs from torchvision's
    FrozenBatchNorm2d: weight and bias learn, and any spatial rank.
    """

    equation: ClassVar[str] = (
        "y = gamma (x - E) / sqrt(V + eps) + beta; E, V: constants, those of a checkpoint"
    )

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, num_features: int, **options: Any) -> None:
        super().__init__(num_features, **options)
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
