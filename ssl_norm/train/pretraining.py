"""Steps of a learner on two views of unlabelled images."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ssl_norm.console import say
from ssl_norm.distributed import data_parallel, rank
from ssl_norm.errors import UserError
from ssl_norm.learners.learner import Learner, LearnerOutput
from ssl_norm.monitors import CollapseMonitor
from ssl_norm.train.compiled import CompiledEncoders
from ssl_norm.train.loop import Run, seed_step
from ssl_norm.train.run_folder import Row
from ssl_norm.train.step_log import StepLog


@dataclass(kw_only=True)
class PretrainingRun(Run):
    """A learner in training."""

    network: Learner  # turns two views into a loss and embeddings
    # Yields uint8 images (N, 3, H, W) of this rank, from the first batch of `first_step` on; if the
    # run has no steps, it yields one epoch.
    batches: Iterator[Tensor]
    make_views: Callable[[Tensor, torch.Generator], tuple[Tensor, ...]]  # view1, view2
    monitor: CollapseMonitor  # measures every step
    schedule_steps: int  # length of the schedules, at least `steps`
    steps_per_epoch: int
    compile: bool = False  # whether to compile the encoders
    _parallel: nn.Module = field(init=False, repr=False)
    _compiled: CompiledEncoders | None = field(default=None, init=False, repr=False)

    def start(self) -> None:
        """Wrap the learner for several processes."""
        super().start()
        self._parallel = data_parallel(self.network)
        if self.compile and self.first_step < self.steps:
            self._compiled = CompiledEncoders(self.network)
            if rank() == 0:
                say("compiling the encoders, which takes a minute or more of the first step")

    def _forward(self, step: int, *views: Tensor) -> LearnerOutput:
        """Return loss and embeddings; encoders whose layers are measured run uncompiled."""
        layers = self.monitor.layers
        compiled = None if layers and layers.due(step) else self._compiled
        with compiled.running() if compiled else nullcontext(), self.autocast():
            output: LearnerOutput = self._parallel(*views)
        found = type(output).__name__
        if isinstance(output, LearnerOutput):
            found = f"loss {tuple(output.loss.shape)} and {len(output.pairs)} pairs"
            if not output.loss.dim() and output.pairs:
                return output
        raise UserError(
            f"method: forward of {type(self.network).__name__} returned {found}; expected "
            "ssl_norm.learners.learner.LearnerOutput with a scalar loss and at least one pair"
        )

    def train_step(self, step: int, generator: torch.Generator, log: StepLog) -> None:
        """Update the parameters once, with the gradient of `accumulate` batches."""
        for part in range(self.accumulate):
            images = next(self.batches)
            seed_step(generator, self.seed, step, part)
            views = self.make_views(images, generator)
            self.look(log, step, *views)
            self.monitor.start(step + 1)
            output = self._forward(step + 1, *views)
            (output.loss / self.accumulate).backward()  # type: ignore[no-untyped-call]
            self.network.after_backward(output)
            log.add(step + 1, len(images), output.loss, **output.scalars)
        self.monitor.observe(step + 1, output.pairs, output.loss)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.network.after_step(step / self.schedule_steps)

    def row(self, log: StepLog, step: int) -> Row:
        """Return loss, monitors and verdict after `step` steps; waits for the device."""
        self.look(log, step)
        means = log.means()
        measured = self.monitor.collect()
        return {
            "step": step,
            "epoch": round(step / self.steps_per_epoch, 4),
            "loss": means.pop("loss"),
            "lr": self.learning_rate(step - 1),
            **measured,
            **means,
            "images_per_second": log.images_per_second(),
            "verdict": self.monitor.verdict,
        }

    def text(self, row: Row) -> str:
        """Return speed, loss, both cosines and the verdict so far."""
        return (
            f"{row['images_per_second']:.0f} img/s  loss {row['loss']:.4f}  "
            f"cos + {row['positive_cosine']:.4f} / - {row['negative_cosine']:.4f}  {row['verdict']}"
        )

    def state(self) -> dict[str, Any]:
        """Return the state dicts of learner, optimizer and monitor."""
        return super().state() | {"monitor": self.monitor.state_dict()}

    def load_state(self, checkpoint: Mapping[str, Any]) -> None:
        """Load the content of `state` from a checkpoint."""
        super().load_state(checkpoint)
        self.monitor.load_state_dict(checkpoint["monitor"])


@torch.no_grad()
def measure_initial(
    run: PretrainingRun, on_row: Callable[[Row], None], on_checkpoint: Callable[[int], None]
) -> None:
    """Measure the initial network in training mode on an epoch of batches, without changing it.

    The run has one row, with step 0 and learning rate 0, and a checkpoint of step 0.

    Raises:
        NonFiniteLoss: a loss was NaN or infinite.
    """
    learner = run.network.train()
    initial = {name: value.clone() for name, value in learner.state_dict().items()}
    generator = torch.Generator()
    log = StepLog()
    for step, images in enumerate(run.batches):
        seed_step(generator, run.seed, step)
        views = run.make_views(images, generator)
        run.look(log, step, *views)
        with run.autocast():
            output = learner(*views)
        learner.after_backward(output)
        log.add(step + 1, len(images), output.loss, **output.scalars)
        run.monitor.observe(step + 1, output.pairs, output.loss)
    learner.load_state_dict(initial)
    on_row({**run.row(log, 0), "lr": 0.0})
    on_checkpoint(0)
