"""Interface between the training loop and learners."""

from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ssl_norm.distributed import gather_batch


class LearnerOutput(NamedTuple):
    """Loss and embeddings of one batch of two views.

    Attributes:
        loss: scalar, over the global batch of all ranks, and the same on every rank.
        pairs: (online, target) projections, each (N, D) over the global batch and detached; the
            two rows i come from two views of image i. Learners that use both orders of the views
            return two pairs.
        scalars: further scalars of the batch by name; their means are columns of metrics.csv. An
            example is `contrastive_accuracy`, the share of positives nearer than all negatives.
    """

    loss: Tensor
    pairs: tuple[tuple[Tensor, Tensor], ...]
    scalars: Mapping[str, Tensor] = MappingProxyType({})


class Learner(nn.Module):
    """Base of all learners: two views in, loss and embeddings out.

    The constructor declares the parts of a learner. It takes the encoder, then a positional
    parameter without default for each head (projector, predictor), then options by name.
    Annotations of options give their ranges or choices, and `Args:` their meaning. If an option
    `embedding_dim` is required, it gets the width of the last head's output.

    Attributes:
        scalars: names of the `scalars` in its :class:`LearnerOutput`.
    """

    scalars: ClassVar[tuple[str, ...]] = ()
    encoder: nn.Module
    projector: nn.Module

    def project(self, view: Tensor) -> Tensor:
        """Return the online projections z (N, D) of one view."""
        z: Tensor = self.projector(self.encoder(view))
        return z

    def forward(self, view1: Tensor, view2: Tensor) -> LearnerOutput:
        """Return loss and embeddings of two views, each (N, 3, H, W), of the same images."""
        raise NotImplementedError

    def loss_at_collapse(self, batch_size: int) -> float | None:
        """Return the loss of constant embeddings on a batch of all ranks; None: unknown."""
        return None

    def after_backward(self, output: LearnerOutput) -> None:
        """Store outputs of a batch for later batches, for example keys in a queue."""

    def after_step(self, progress: float) -> None:
        """Update an EMA network after an optimizer step; `progress` in [0, 1]: share done."""


def needs_embedding_dim(learner: Callable[..., Any]) -> bool:
    """Return whether the constructor of a learner requires the width of the projections."""
    parameter = signature(learner).parameters.get("embedding_dim")
    return parameter is not None and parameter.default is Parameter.empty


def global_rows(*embeddings: Tensor) -> tuple[Tensor, ...]:
    """Gather the rows (N, D) of all ranks, in float32 or wider, with gradients.

    Half precision is widened before the exchange, so that sums over ranks are as exact as the loss.
    """
    wide = (z.to(torch.promote_types(z.dtype, torch.float32)) for z in embeddings)
    return tuple(gather_batch(z) for z in wide)
