"""Unsupervised batch normalization: labelled samples normalized with unlabelled ones."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ssl_norm.norms.batch.batch_statistics import BatchStatisticsNorm
from ssl_norm.norms.input_checks import check_channels

Moments = tuple[Tensor, Tensor]  # mean and variance of one call of a layer


class UnsupervisedBatchNorm(BatchStatisticsNorm):
    """Batch norm that normalizes by the statistics of a joint batch in :func:`joint_statistics`.

    y = weight (x - E) / sqrt(V + eps) + bias. Inside, E and V are constants: those of the labelled
    and unlabelled samples together. Outside, this is batch norm.

    Source: Kocyigit et al., "Unsupervised Batch Normalization", CVPR Workshops 2020. Not Unified
    Batch Normalization (arXiv 2311.15993), which has the same short name, nor UBNA (arXiv
    2011.08502), which adapts statistics at test time. Choices that the sources leave open:

    - The gradient through the statistics. Their two passes suggest constants, as here. Constants
      let weights grow while the loss stays (Ioffe & Szegedy, arXiv 1502.03167, section 2) and
      failed at learning rates at which batch norm trains. So tools/finetune.py passes the joint
      batch at once and takes the loss of its labelled rows: the gradient flows
      (`ubn.gradient=true`).
    - The ratio of unlabelled to labelled samples: `ubn.ratio=4`, so that the unlabelled ones set
      the statistics, at five times the cost of a forward pass.
    - The momentum: batch norm's 0.1; the joint statistics update the running ones once a step.
    - Evaluation: population statistics, which are those of the joint batches.
    """

    equation = "bn; E, V: constants, from labelled and unlabelled samples if these are given"

    recorded: list[Moments] | None = None  # calls of the present joint pass
    joint: list[Moments] | None = None  # those of a finished one; the next call has the first

    @property
    def uses_joint(self) -> bool:
        """Return whether the next input is normalized by the statistics of a joint batch."""
        return self.training and self.joint is not None

    def check_input(self, x: Tensor) -> None:
        """Raise ValueError unless x is (N, C, *spatial), with enough values for its statistics."""
        if self.uses_joint:
            check_channels(x, self.num_features)
        else:
            super().check_input(x)

    def statistics(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return the statistics of the joint batch, if there is one, else as batch norm does."""
        if self.joint is not None and self.uses_joint:
            self.joint.append(self.joint.pop(0))
            return self.joint[-1]
        own = super().statistics(mean, variance)
        if self.recorded is not None and self.training:
            self.recorded.append((own[0].detach(), own[1].detach()))
        return own


@contextmanager
def joint_statistics(model: nn.Module, *joint_batch: Any) -> Iterator[None]:
    """Normalize the labelled part of a joint batch by the statistics of the whole joint batch.

    On entry `model(*joint_batch)` runs once without gradients: every `ubn` layer in training mode
    records its batch statistics and updates its population statistics. Inside, these layers
    normalize by the recorded statistics and update nothing; on exit they are batch norms again. A
    layer that is called several times per pass has statistics for each call, in order; a layer that
    the joint pass did not reach stays a batch norm. Other norms of the model see both passes.

    Args:
        model: holds the `ubn` layers; in training mode, else they use population statistics.
        *joint_batch: inputs of the model, with labelled and unlabelled samples together.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 4), UnsupervisedBatchNorm(4))
        >>> labelled, unlabelled = torch.randn(2, 3), torch.randn(8, 3)
        >>> with joint_statistics(model, torch.cat([labelled, unlabelled])):
        ...     model(labelled).square().mean().backward()
    """
    layers = [layer for layer in model.modules() if isinstance(layer, UnsupervisedBatchNorm)]
    if not layers:
        raise ValueError(f"{type(model).__name__} has no ubn layer to take joint statistics")
    if any(layer.batch_size is not None for layer in layers):
        raise ValueError(
            "joint statistics span the whole joint batch; build ubn without batch_size"
        )
    try:
        for layer in layers:
            layer.joint, layer.recorded = None, []
        with torch.no_grad():
            model(*joint_batch)
        for layer in layers:
            layer.joint, layer.recorded = layer.recorded or None, None
        yield
    finally:
        for layer in layers:
            layer.joint = layer.recorded = None
