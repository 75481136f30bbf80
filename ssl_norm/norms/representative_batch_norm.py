"""Representative batch normalization: batch norm calibrated by each instance's own mean."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_norm.norms.input_checks import check_batch, check_channels


def representative_batch_norm(
    x: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    center_weight: Tensor,
    scale_weight: Tensor,
    scale_bias: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    training: bool = False,
    update_rate: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize over batch and space, with centring and scaling calibrated by instance means.

        centred = x + center_weight * K(x)
        s = (centred - E) / sqrt(V + eps)
        y = weight * s * sigmoid(scale_weight * K(s) + scale_bias) + bias

    K is the mean over space of each instance and channel; E and V are the mean and the biased
    variance of `centred` over batch and space. As in `torch.nn.functional.batch_norm`, `training`
    takes E and V from the batch and moves the running statistics, which are those of `centred`, in
    place; otherwise E and V are the running statistics. `x` is not altered. Instance means and
    calibrations are float32 or wider.

    Args:
        x: (N, C) or (N, C, *spatial).
        running_mean: (C,).
        running_var: (C,), moved by the unbiased variance.
        center_weight: w_m, (C,).
        scale_weight: w_v, (C,).
        scale_bias: w_b, (C,).
        weight: gamma, (C,); None is 1.
        bias: beta, (C,); None is 0.
        training: whether E and V come from the batch.
        update_rate: weight of the new batch in the running statistics, in [0, 1].
        eps: added to the variance, inside the root.

    Returns:
        Like x.

    Source: Gao et al., "Representative Batch Normalization with Feature Calibration",
    CVPR 2021.
    """
    per_channel = (1, -1, *(1 for _ in x.shape[2:]))
    center, slope, offset = (t.view(per_channel) for t in (center_weight, scale_weight, scale_bias))
    centred = x + (center * _instance_mean(x)).to(x.dtype)
    normalized = F.batch_norm(
        centred, running_mean, running_var, training=training, momentum=update_rate, eps=eps
    )
    scale = torch.sigmoid(slope * _instance_mean(normalized) + offset)
    if weight is None or bias is None:
        return normalized * scale.to(x.dtype)
    gain = (weight.view(per_channel) * scale).to(x.dtype)
    return torch.addcmul(bias.view(per_channel).to(x.dtype), normalized, gain)


def _instance_mean(x: Tensor) -> Tensor:
    """Return the mean over space, (N, C, 1, ...), in float32 or wider; x where there is none."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    space = tuple(range(2, x.ndim))
    return x.mean(space, keepdim=True, dtype=dtype) if space else x.to(dtype)


class RepresentativeBatchNorm(nn.Module):
    """Module form of :func:`representative_batch_norm`, with the published initial values.

    At the start w_m = 0, w_v = 0, w_b = 1, gamma = 1 and beta = 0, so that the output is
    sigmoid(1) = 0.731 times batch norm's. On (N, C) inputs, as in MLP heads, the instance mean is x
    itself: centring multiplies x by 1 + w_m, which the normalization cancels (up to its sign and
    eps), and y = gamma * s * sigmoid(w_v * s + w_b) + beta remains. The state_dict has BatchNorm's
    keys and the three calibration weights, each (C,).

    Args:
        num_features: channels C.
        eps: added to the variance, inside the root.
        update_rate: weight of the new batch in the running statistics, in [0, 1].
        affine: whether to learn gamma and beta; the calibration weights are learned in any case.

    Shape:
        (N, C) or (N, C, *spatial) to the same.

    Raises:
        ValueError: in training, one value per channel.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self, num_features: int, *, eps: float = 1e-5, update_rate: float = 0.1, affine: bool = True
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.update_rate = update_rate
        self.weight = nn.Parameter(torch.ones(num_features)) if affine else None
        self.bias = nn.Parameter(torch.zeros(num_features)) if affine else None
        self.center_weight = nn.Parameter(torch.zeros(num_features))
        self.scale_weight = nn.Parameter(torch.zeros(num_features))
        self.scale_bias = nn.Parameter(torch.ones(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized and calibrated input."""
        check_channels(x, self.num_features)
        if self.training:
            check_batch(x)
            self.num_batches_tracked.add_(1)
        return representative_batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.center_weight,
            self.scale_weight,
            self.scale_bias,
            self.weight,
            self.bias,
            training=self.training,
            update_rate=self.update_rate,
            eps=self.eps,
        )

    def extra_repr(self) -> str:
        """Return the sizes and options that the printed module shows."""
        options = {
            "eps": self.eps,
            "update_rate": self.update_rate,
            "affine": self.weight is not None,
        }
        return ", ".join([str(self.num_features), *(f"{k}={v}" for k, v in options.items())])
