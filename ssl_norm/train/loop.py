"""The training loop of every tool."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ssl_norm.distributed import rank, tensor_from_first_rank
from ssl_norm.errors import UserError
from ssl_norm.norms.batch.freezing import freeze_statistics
from ssl_norm.train.convolution.replace import faster_convolutions
from ssl_norm.train.run_folder import Row
from ssl_norm.train.step_log import StepLog, first_non_finite, floating_tensors


@dataclass(kw_only=True)
class Run(ABC):
    """A network in training, and its schedule."""

    network: nn.Module
    optimizer: Optimizer
    learning_rate: Callable[[int], float]  # as a function of the step, from 0
    autocast: Callable[[], AbstractContextManager[None]]  # context of the forward pass
    seed: int  # the randomness of a step depends only on the seed and the step
    first_step: int  # steps already done
    steps: int  # of the whole run
    accumulate: int = 1  # batches per step
    log_every: int  # steps between rows
    save_every: int  # steps between checkpoints
    score_every: int = 0  # steps between scores; 0: never
    frozen_from: int  # step at which the statistics of batch norms freeze; `steps`: never

    _watched: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)

    def start(self) -> None:
        """Prepare the first step."""
        self.network.train()

    def look(self, log: StepLog, step: int, *views: Tensor) -> None:
        """Check the state of training and the views of the next step for NaN and infinities.

        Without views, the list of tensors is made again, so that replaced tensors are checked.
        """
        if not views or step <= self.first_step + 1:
            self._watched = dict(self.tensors())
        log.look(step, self._watched)
        named = enumerate(views, start=1)
        log.look(step + 1, {f"view {number}": view for number, view in named})

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the weights, buffers and states of the optimizer by name."""
        yield from floating_tensors(self.network.state_dict())
        names = {id(parameter): name for name, parameter in self.network.named_parameters()}
        for parameter, state in self.optimizer.state.items():
            for key, value in floating_tensors(state):
                yield f"{key} of {names[id(parameter)]}", value

    @abstractmethod
    def train_step(self, step: int, generator: torch.Generator, log: StepLog) -> None:
        """Update the parameters once, from `step` to `step + 1` steps done."""

    @abstractmethod
    def row(self, log: StepLog, step: int) -> Row:
        """Return the row of metrics.csv after `step` steps; waits for the device.

        Raises:
            NonFiniteLoss: a loss, view, weight, buffer or state since the last row was not finite.
        """

    @abstractmethod
    def text(self, row: Row) -> str:
        """Return the text of a row for the progress line."""

    def state(self) -> dict[str, Any]:
        """Return the state dicts of everything that training changes."""
        return {"learner": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state(self, checkpoint: Mapping[str, Any]) -> None:
        """Load the content of `state` from a checkpoint.

        Raises:
            UserError: it holds NaN or infinities; earlier versions could write these.
        """
        self.network.load_state_dict(checkpoint["learner"])
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        if found := first_non_finite(dict(self.tensors())):
            raise UserError(
                f"last.pt of step {checkpoint['step']} cannot be resumed: {found[0]} is {found[1]}; "
                "copy an earlier step_*.pt over it, or start a new run"
            )


@faster_convolutions()
def train(
    run: Run,
    on_row: Callable[[Row], None],
    on_checkpoint: Callable[[int], None],
    on_score: Callable[[int], None] | None = None,
) -> None:
    """Train to the last step.

    Args:
        run: the network and its schedule.
        on_row: takes a row of metrics every `log_every` steps, before every score and checkpoint,
            and at the end.
        on_checkpoint: called with the number of steps done, only while all tensors are finite.
        on_score: called with the number of steps done every `score_every` steps, except the last;
            it must not change the network.

    Raises:
        NonFiniteLoss: a loss, view, weight, buffer or state of the optimizer was not finite.
    """
    run.start()
    generator = torch.Generator()
    log = StepLog()
    if run.first_step > run.frozen_from:
        freeze_batch_norms(run.network)
    for step in range(run.first_step, run.steps):
        if step == run.frozen_from:
            freeze_batch_norms(run.network)
        for group in run.optimizer.param_groups:
            group["lr"] = run.learning_rate(step)
        run.train_step(step, generator, log)

        done = step + 1
        is_last = done == run.steps
        scoring = run.score_every > 0 and done % run.score_every == 0 and not is_last
        saving = is_last or done % run.save_every == 0
        if scoring or saving or done % run.log_every == 0:
            on_row(run.row(log, done))
        if scoring and on_score:
            on_score(done)
        if saving:
            on_checkpoint(done)


def freeze_batch_norms(network: nn.Module) -> None:
    """Freeze the statistics of all batch norms at those of rank zero, which checkpoints hold."""
    freeze_statistics(network)
    for buffer in network.buffers():
        tensor_from_first_rank(buffer)


def seed_step(generator: torch.Generator, seed: int, step: int, part: int = 0) -> None:
    """Seed the randomness of a step by (seed, step, part), so that runs resume exactly.

    `generator`, for views, gets the same seed on all ranks; torch's own generator, for dropout,
    gets one that differs by rank.
    """
    generator.manual_seed(_mixed(seed, step, part))
    torch.manual_seed(_mixed(seed, step, part, 1 + rank()))


def _mixed(*numbers: int) -> int:
    """Return a seed that depends on all the numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint32)[0])


def count_parameters(module: nn.Module) -> int:
    """Return the number of parameters that take gradients."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
