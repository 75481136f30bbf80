"""Representative batch normalization: batch norm calibrated by each instance's own statistics."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ssl_norm.norms.batch.batch_statistics import STATISTICS, BatchStatisticsNorm, Statistics
from ssl_norm.norms.core import normalize
from ssl_norm.norms.kernels.pooled import PooledRule, compiled_by
from ssl_norm.norms.kernels.tables import space_axes

PUBLISHED_SCALE_BIAS = 1.0
GATES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softmax": partial(torch.softmax, dim=1),
    "none": lambda values: values,
}  # of tables (N, C)


class RepresentativeBatchNorm(BatchStatisticsNorm):
    """Normalize over batch and space, with centring and scaling calibrated by instances.

        centred = x + center_weight * K(x)
        s = (centred - E) / sqrt(V + eps)
        y = weight * s * R(scale_weight * K(s) + scale_bias) + bias

    K is a statistic over space of each instance and channel, and R a gate; E and V are the mean and
    the biased variance of `centred`, and so are the running statistics. The three calibration
    weights, each (C,), start as published from 0, 0 and 1, so that with R = sigmoid the output is
    0.731 times that of batch norm. Checkpoints of batch norm load strictly, and do not change the
    calibration weights.

    On (N, C) inputs, as in MLP heads, the mean K(x) is x itself: centring multiplies x by
    1 + center_weight, which the normalization cancels (up to its sign and eps), and
    y = weight * s * R(scale_weight * s + scale_bias) + bias remains. The maximum is x as well, and
    the standard deviation sqrt(eps).

    Args:
        identity_init: divide by R's initial value, so that the norm starts as batch norm exactly.
        calibration: `both`; `centring`: without R; `scaling`: `centred` is x. A weight that is not
            used is not created.
        gate: R: `sigmoid`; `tanh`; `softmax` over channels, which starts from 1 / C; `none`: R(a)
            is a.
        statistic: K: `mean`; `std`, sqrt(v + eps), with v the biased variance over space, and
            for s divided by sqrt(V + eps); `max`, which costs one more pass over x.
        **options: those of :class:`BatchStatisticsNorm`; `affine=False` keeps the calibration
            weights.

    Source: Gao et al., "Representative Batch Normalization with Feature Calibration", CVPR 2021,
    with the mean and sigmoid. The published code changes its input in place, takes only 2d inputs,
    and has none of the options here.
    """

    equation = (
        "s = bn(x + w_m K(x)); y = gamma s sigmoid(w_v K(s) + w_b) + beta; K: mean over space"
    )
    printed: ClassVar[tuple[str, ...]] = ("calibration", "gate", "statistic")

    center_weight: nn.Parameter | None
    scale_weight: nn.Parameter | None
    scale_bias: nn.Parameter | None

    def __init__(
        self,
        num_features: int,
        *,
        identity_init: bool = False,
        calibration: Literal["both", "centring", "scaling"] = "both",
        gate: Literal["sigmoid", "tanh", "softmax", "none"] = "sigmoid",
        statistic: Literal["mean", "std", "max"] = "mean",
        **options: Any,
    ) -> None:
        super().__init__(num_features, **options)
        self.identity_init = identity_init
        self.calibration = calibration
        self.gate = gate
        self.statistic = statistic
        initial = {"center_weight": 0.0, "scale_weight": 0.0, "scale_bias": PUBLISHED_SCALE_BIAS}
        for name, value in initial.items():
            used = calibration in ("both", "centring" if name == "center_weight" else "scaling")
            start = nn.Parameter(torch.full((num_features,), value)) if used else None
            self.register_parameter(name, start)

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized input; in training, update the running statistics."""
        if self.statistic != "max" or x.ndim == 2:
            return super().forward(x)
        self.check_input(x)
        self.positions = x.shape[2:].numel()
        return normalize(x, partial(self.rule, x=x))

    @compiled_by(lambda norm: norm.compiled_calibration(), "calibrated", *STATISTICS)
    def rule(
        self, mean: Tensor, variance: Tensor, x: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return batch norm's scale and shift of `centred`, times the gate; `max` needs `x`."""
        known = mean  # K(x)
        if self.statistic == "std":
            known = (variance + self.eps).sqrt()
        elif x is not None:
            known = x.amax(space_axes(x)).to(mean.dtype)
        return self.calibrated(self.statistics, mean, variance, *self.all_weights, known=known)

    def calibrated(
        self,
        statistics: Statistics,
        mean: Tensor,
        variance: Tensor,
        *weights: Tensor | None,
        known: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return scale and shift by given statistics, parameters and K(x), which is the mean if None."""
        weight, bias, center_weight, scale_weight, scale_bias = weights
        known = mean if known is None else known
        centred_mean = mean if center_weight is None else mean + center_weight * known
        batch_mean, batch_variance = statistics(centred_mean, variance)
        deviation = centred_mean - batch_mean
        inverse = (batch_variance + self.eps).rsqrt()
        if scale_weight is None or scale_bias is None:
            scale = inverse if weight is None else inverse * weight
        else:
            of_s = known  # K(s) / inverse; in this order autograd keeps two tables (N, C) fewer
            if self.statistic != "std":
                of_s = deviation if known is mean else deviation + (known - mean)
            gate = GATES[self.gate](of_s * (inverse * scale_weight) + scale_bias)
            if self.identity_init:
                inverse = inverse / initial_gate(self.gate, self.num_features)
            scale = (inverse if weight is None else inverse * weight) * gate
        shift = scale * deviation - scale * mean
        return scale, shift if bias is None else shift + bias

    @property
    def all_weights(self) -> tuple[Tensor | None, ...]:
        """Return the parameters, in the order of :meth:`calibrated`."""
        return self.weight, self.bias, self.center_weight, self.scale_weight, self.scale_bias

    def compiled_calibration(self) -> PooledRule | None:
        """Return the compiled rule of the published calibration."""
        gated = self.scale_weight is not None
        if self.statistic != "mean" or gated != (self.scale_bias is not None):
            return None
        if gated and self.gate != "sigmoid":
            return None
        identity = gated and self.identity_init
        factor = 1 / initial_gate(self.gate, self.num_features) if identity else 1.0
        return self.compiled_rule(self.calibrated, self.all_weights, factor=factor)


def initial_gate(gate: str, channels: int) -> float:
    """Return the value of a gate under the initial calibration weights."""
    at_start = torch.full((1, channels), PUBLISHED_SCALE_BIAS, dtype=torch.float64)
    return float(GATES[gate](at_start)[0, 0])
