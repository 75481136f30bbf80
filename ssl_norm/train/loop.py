"""The training loop."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from ssl_norm.distributed import is_distributed, rank, tensor_from_first_rank
from ssl_norm.learners.learner import Learner, LearnerOutput
from ssl_norm.monitors import CollapseMonitor
from ssl_norm.norms.batch.freezing import freeze_statistics
from ssl_norm.train.run_folder import Row
from ssl_norm.train.step_log import StepLog


@dataclass
class Training:
    """Everything that a run is made of.

    Attributes:
        learner: turns two views into a loss and embeddings.
        optimizer: moves the learner's parameters.
        batches: yields uint8 images (N, 3, H, W) of this rank, beginning with the first batch of `first_step`; an epoch
            of them where the run has no steps.
        make_views: `(images, generator) -> (view1, view2)`.
        monitor: measures every step.
        learning_rate: rate as a function of the step, from 0.
        autocast: makes the context of the forward pass.
        seed: all randomness of a step is a function of this and the step.
        first_step: steps already done.
        steps: steps of the whole run.
        schedule_steps: length of the schedules, at least `steps`.
        steps_per_epoch: steps of an epoch.
        accumulate: batches per step.
        log_every: steps between rows.
        save_every: steps between checkpoints.
        frozen_from: step at which the statistics of batch norms freeze; `steps`: never.
    """

    learner: Learner
    optimizer: Optimizer
    batches: Iterator[Tensor]
    make_views: Callable[[Tensor, torch.Generator], tuple[Tensor, Tensor]]
    monitor: CollapseMonitor
    learning_rate: Callable[[int], float]
    autocast: Callable[[], AbstractContextManager[None]]
    seed: int
    first_step: int
    steps: int
    schedule_steps: int
    steps_per_epoch: int
    accumulate: int
    log_every: int
    save_every: int
    frozen_from: int


def train(
    run: Training, on_row: Callable[[Row], None], on_checkpoint: Callable[[int], None]
) -> None:
    """Train to the last step.

    Args:
        run: what to train.
        on_row: takes a row of metrics every `log_every` steps, before every checkpoint and at the end.
        on_checkpoint: called with the number of steps done, only while the loss is finite.

    Raises:
        NonFiniteLoss: a loss since the last row was NaN or infinite.
    """
    learner = run.learner.train()
    model = (
        DistributedDataParallel(learner, broadcast_buffers=False) if is_distributed() else learner
    )
    generator = torch.Generator()
    log = StepLog(run.accumulate)
    if run.first_step > run.frozen_from:
        freeze_batch_norms(learner)
    for step in range(run.first_step, run.steps):
        if step == run.frozen_from:
            freeze_batch_norms(learner)
        for group in run.optimizer.param_groups:
            group["lr"] = run.learning_rate(step)
        for part in range(run.accumulate):
            images = next(run.batches)
            seed_step(generator, run.seed, step, part)
            view1, view2 = run.make_views(images, generator)
            run.monitor.start(step + 1)
            with run.autocast():
                output = model(view1, view2)
            (output.loss / run.accumulate).backward()
            learner.after_backward(output)
            log.add(images.shape[0], **logged(output))
        run.monitor.observe(step + 1, output.pairs, output.loss)
        run.optimizer.step()
        run.optimizer.zero_grad(set_to_none=True)
        learner.after_step(step / run.schedule_steps)

        done = step + 1
        saving = done % run.save_every == 0 or done == run.steps
        if saving or done % run.log_every == 0:
            on_row(metrics_row(run, log, done))
        if saving:
            on_checkpoint(done)


@torch.no_grad()
def measure_initial(
    run: Training, on_row: Callable[[Row], None], on_checkpoint: Callable[[int], None]
) -> None:
    """Measure the network as it was initialised, in training mode on an epoch of batches, and leave it so.

    Args:
        run: of no steps.
        on_row: takes the one row of metrics, of step 0 and learning rate 0.
        on_checkpoint: called with 0.

    Raises:
        NonFiniteLoss: a loss was NaN or infinite.
    """
    learner = run.learner.train()
    initial = {name: value.clone() for name, value in learner.state_dict().items()}
    generator = torch.Generator()
    log = StepLog()
    for step, images in enumerate(run.batches):
        seed_step(generator, run.seed, step, 0)
        with run.autocast():
            output = learner(*run.make_views(images, generator))
        learner.after_backward(output)
        log.add(images.shape[0], **logged(output))
        run.monitor.observe(step + 1, output.pairs, output.loss)
    learner.load_state_dict(initial)
    on_row({**metrics_row(run, log, 0), "lr": 0.0})
    on_checkpoint(0)


def freeze_batch_norms(learner: nn.Module) -> None:
    """Freeze the statistics of all batch norms, on every rank at rank 0's, which checkpoints hold."""
    freeze_statistics(learner)
    for buffer in learner.buffers():
        tensor_from_first_rank(buffer)


def seed_step(generator: torch.Generator, seed: int, step: int, part: int) -> None:
    """Make a step's randomness a function of (seed, step), so that a resumed run goes on exactly.

    The generator, for views, is the same on every rank; torch's own, for dropout, differs by rank.
    """
    generator.manual_seed(mixed(seed, step, part))
    torch.manual_seed(mixed(seed, step, part, 1 + rank()))


def mixed(*numbers: int) -> int:
    """Return a seed that depends on all the numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint32)[0])


def logged(output: LearnerOutput) -> dict[str, Tensor]:
    """Return the scalars averaged per logged row: the loss and those of the learner."""
    return {"loss": output.loss, **output.scalars}


def metrics_row(run: Training, log: StepLog, step: int) -> Row:
    """Return the row of metrics.csv after so many steps; waits for the device."""
    means = log.means(step)
    measured = run.monitor.collect()
    return {
        "step": step,
        "epoch": round(step / run.steps_per_epoch, 4),
        "loss": means.pop("loss"),
        "lr": run.learning_rate(step - 1),
        **measured,
        **means,
        "images_per_second": log.images_per_second(),
        "verdict": run.monitor.verdict,
    }


def count_parameters(module: nn.Module) -> int:
    """Return the number of parameters that take gradients."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
