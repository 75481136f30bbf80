"""Steps of a classifier on labelled images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_norm.data.batches.labelled_batches import LabelledBatch
from ssl_norm.norms.layers.unsupervised_batch_norm import joint_statistics
from ssl_norm.train.loop import Run, seed_step
from ssl_norm.train.population import MakeViews
from ssl_norm.train.run_folder import Row
from ssl_norm.train.step_log import StepLog


@dataclass(kw_only=True)
class FinetuningRun(Run):
    """A classifier in training: images (N, 3, S, S) to logits (N, K)."""

    batches: Iterator[LabelledBatch]  # beginning with the batch of `first_step`
    make_views: MakeViews  # `(images, generator) -> (view,)`
    joint_gradient: bool  # whether the gradient flows through statistics of unlabelled images
    classes: Sequence[str] = ()  # names of the logits

    def train_step(self, step: int, generator: torch.Generator, log: StepLog) -> None:
        """Update the parameters once, with the cross-entropy of the labelled views."""
        batch = next(self.batches)
        seed_step(generator, self.seed, step)
        (labelled,) = self.make_views(batch.images, generator)
        unlabelled = None
        if batch.unlabelled is not None:
            (unlabelled,) = self.make_views(batch.unlabelled, generator)
        views = [view for view in (labelled, unlabelled) if view is not None]
        self.look(log, step, *views)
        with self.autocast():
            logits = labelled_logits(self.network, labelled, unlabelled, self.joint_gradient)
            loss = F.cross_entropy(logits, batch.labels)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        right = (logits.argmax(1) == batch.labels).float().mean()
        log.add(step + 1, len(batch.labels), loss=loss, train_top1=right)

    def row(self, log: StepLog, step: int) -> Row:
        """Return loss and accuracy as means over the labelled views since the last row."""
        self.look(log, step)
        means = log.means()
        return {
            "step": step,
            "loss": means["loss"],
            "lr": self.learning_rate(step - 1),
            "train_top1": means["train_top1"],
            "images_per_second": log.images_per_second(),
        }

    def text(self, row: Row) -> str:
        """Return speed, loss and the accuracy on training views."""
        return (
            f"{row['images_per_second']:.0f} img/s  loss {row['loss']:.4f}  "
            f"training top-1 {row['train_top1']:.3f}"
        )

    def state(self) -> dict[str, Any]:
        """Return the state dicts of classifier and optimizer, and the names of the classes."""
        return super().state() | {"classes": list(self.classes)}


def labelled_logits(
    model: nn.Module, labelled: Tensor, unlabelled: Tensor | None, joint_gradient: bool
) -> Tensor:
    """Return the logits (B, K) of labelled views whose batch statistics include unlabelled views.

    Without unlabelled views, the labelled ones alone set the statistics. Otherwise the norms are
    `ubn`, in training mode. With `joint_gradient`, there is one pass over all views, with the
    gradient through its statistics. Else there are two passes, the first without gradients over all
    views; the second, over the labelled views, takes these statistics as constants. Both give the
    same logits, and update the population statistics once.

    Source: Kocyigit et al., "Unsupervised Batch Normalization", CVPR Workshops 2020. For the
    choices that the paper leaves open, see
    :class:`ssl_norm.norms.layers.unsupervised_batch_norm.UnsupervisedBatchNorm`.
    """
    if unlabelled is None:
        logits: Tensor = model(labelled)
        return logits
    joint = torch.cat([labelled, unlabelled])
    if joint_gradient:
        logits = model(joint)
        return logits[: len(labelled)]
    with joint_statistics(model, joint):
        of_labelled: Tensor = model(labelled)
    return of_labelled
