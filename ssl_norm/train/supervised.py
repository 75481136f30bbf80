"""The loop that trains a classifier with labels."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from ssl_norm.data.batches.labelled_batches import LabelledBatch
from ssl_norm.norms.layers.unsupervised_batch_norm import joint_statistics
from ssl_norm.train.loop import freeze_batch_norms, seed_step
from ssl_norm.train.population import MakeViews
from ssl_norm.train.run_folder import Row
from ssl_norm.train.step_log import StepLog


@dataclass
class SupervisedTraining:
    """Everything that a fine-tuning is made of.

    Attributes:
        model: images (N, 3, S, S) to logits (N, K).
        optimizer: moves the parameters of the model.
        batches: yields uint8 images with labels, beginning with the batch of `first_step`.
        make_views: `(images, generator) -> (view,)`.
        learning_rate: rate as a function of the step, from 0.
        autocast: makes the context of the forward pass.
        joint_gradient: of batches with unlabelled images, whether the gradient flows through their statistics.
        seed: all randomness of a step is a function of this and the step.
        first_step: steps already done.
        steps: steps of the whole run.
        log_every: steps between rows.
        score_every: steps between scores; 0: never.
        save_every: steps between checkpoints.
        frozen_from: step at which the statistics of batch norms freeze; `steps`: never.
    """

    model: nn.Module
    optimizer: Optimizer
    batches: Iterator[LabelledBatch]
    make_views: MakeViews
    learning_rate: Callable[[int], float]
    autocast: Callable[[], AbstractContextManager[None]]
    joint_gradient: bool
    seed: int
    first_step: int
    steps: int
    log_every: int
    score_every: int
    save_every: int
    frozen_from: int


def train_classifier(
    run: SupervisedTraining,
    on_row: Callable[[Row], None],
    on_score: Callable[[int], None],
    on_checkpoint: Callable[[int], None],
) -> None:
    """Train to the last step.

    Args:
        run: what to train.
        on_row: takes a row of metrics every `log_every` steps, before every score and checkpoint, and at the end:
            loss and accuracy are means over the labelled training views since the last row.
        on_score: called with the number of steps done every `score_every` steps but the last; leaves the model as
            it is.
        on_checkpoint: called with the number of steps done, only while the loss is finite.

    Raises:
        NonFiniteLoss: a loss since the last row was NaN or infinite.
    """
    run.model.train()
    generator = torch.Generator()
    log = StepLog()
    if run.first_step > run.frozen_from:
        freeze_batch_norms(run.model)
    for step in range(run.first_step, run.steps):
        if step == run.frozen_from:
            freeze_batch_norms(run.model)
        for group in run.optimizer.param_groups:
            group["lr"] = run.learning_rate(step)
        batch = next(run.batches)
        seed_step(generator, run.seed, step, 0)
        loss, right = training_step(run, batch, generator)
        log.add(len(batch.labels), loss=loss, train_top1=right)

        done = step + 1
        is_last = done == run.steps
        scoring = run.score_every > 0 and done % run.score_every == 0 and not is_last
        saving = is_last or done % run.save_every == 0
        if scoring or saving or done % run.log_every == 0:
            on_row(metrics_row(run, log, done))
        if scoring:
            on_score(done)
        if saving:
            on_checkpoint(done)


def training_step(
    run: SupervisedTraining, batch: LabelledBatch, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Move the parameters once, and return the cross-entropy and the accuracy of the labelled views, scalars."""
    (labelled,) = run.make_views(batch.images, generator)
    unlabelled = None
    if batch.unlabelled is not None:
        (unlabelled,) = run.make_views(batch.unlabelled, generator)
    with run.autocast():
        logits = labelled_logits(run.model, labelled, unlabelled, run.joint_gradient)
        loss = F.cross_entropy(logits, batch.labels)
    loss.backward()  # type: ignore[no-untyped-call]
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    return loss, (logits.argmax(1) == batch.labels).float().mean()


def labelled_logits(
    model: nn.Module, labelled: Tensor, unlabelled: Tensor | None, joint_gradient: bool
) -> Tensor:
    """Return the logits of labelled views in training mode; unlabelled ones share in the batch statistics.

    Args:
        model: with `ubn` layers where there are unlabelled views; in training mode.
        labelled: (B, 3, S, S).
        unlabelled: (U, 3, S, S); None: the statistics are those of the labelled ones.
        joint_gradient: true: one pass over all B + U views, and the gradient flows through its statistics. False:
            two passes, the first without gradients over all views, whose statistics the second, over the labelled
            ones, takes for constants. Both have the same logits, and move the population statistics once.

    Returns:
        (B, K).

    Source: Kocyigit et al., "Unsupervised Batch Normalization", CVPR Workshops 2020: the statistics are updated by a
    joint batch before the step on its labelled part. They leave open whether the gradient flows through the
    statistics. Two passes suggest not; but without it weights grow while the loss stays, as Ioffe & Szegedy (arXiv
    1502.03167, section 2) warn, and training fails at rates that batch norm stands (results/batch_statistics.md),
    so by default it does. They leave open as well how many unlabelled images there are per labelled one, the
    update rate of the population statistics (here that of batch norm), and what is used at test time (here the
    population statistics, and any other kind at evaluation).
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


def metrics_row(run: SupervisedTraining, log: StepLog, step: int) -> Row:
    """Return the row of metrics.csv after so many steps; waits for the device."""
    means = log.means(step)
    return {
        "step": step,
        "loss": means["loss"],
        "lr": run.learning_rate(step - 1),
        "train_top1": means["train_top1"],
        "images_per_second": log.images_per_second(),
    }
