"""What the training loop knows of a learner."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ssl_norm.distributed import gather_batch


class LearnerOutput(NamedTuple):
    """Loss and embeddings of one batch of two views.

    Attributes:
        loss: scalar, over the global batch of all ranks, and the same on every rank.
        pairs: (online, target) projections, each (N, D) over the global batch and detached; row i
            of both stems from two views of image i. Learners that use both directions return two
            pairs.
        contrastive_accuracy: scalar in [0, 1], how often the positive is nearest, ties lost; None
            where a learner has no negatives.
    """

    loss: Tensor
    pairs: tuple[tuple[Tensor, Tensor], ...]
    contrastive_accuracy: Tensor | None = None


class Learner(nn.Module):
    """Base of all learners: two views in, loss and embeddings out."""

    encoder: nn.Module

    def forward(self, view1: Tensor, view2: Tensor) -> LearnerOutput:
        """Return loss and embeddings of two views, each (N, 3, H, W), of the same images."""
        raise NotImplementedError

    def loss_at_collapse(self, batch_size: int) -> float:
        """Return the loss of constant embeddings on a global batch of `batch_size` images."""
        raise NotImplementedError

    def after_backward(self, output: LearnerOutput) -> None:
        """Take in what one batch leaves behind, for example keys for a queue."""

    def after_step(self, progress: float) -> None:
        """Follow the weights after an optimizer step; `progress` in [0, 1] is the share done."""


def global_rows(*embeddings: Tensor) -> tuple[Tensor, ...]:
    """Return each (N, D) tensor over the batch of all ranks, in float32 or wider, with gradients.

    Half precision is widened before it travels, so that sums over ranks are as exact as the loss.
    """
    return tuple(
        gather_batch(z.to(torch.promote_types(z.dtype, torch.float32))) for z in embeddings
    )
