"""NaN or infinity in any tensor at any step ends a run with exit code 4, and nothing is lost.

Every trial spoils one number of a view, weight, buffer, gradient, state of the optimizer or image
of a pretraining or fine-tuning. The run must end with exit code 4 and one line that names the
tensor and the step, its checkpoints must be finite, and a resume without the fault must end in the
same files as a run without it.
"""

import contextlib
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from math import inf, nan
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from ssl_norm.train.checkpoint import load_checkpoint
from ssl_norm.train.finetuning import FinetuningRun
from ssl_norm.train.loop import Run
from ssl_norm.train.pretraining import PretrainingRun
from ssl_norm.train.step_log import floating_tensors
from tests.campaigns.campaign import Broken, Chance
from tests.campaigns.commands import FINETUNE, PRETRAIN, command, contents

TRIALS, SAMPLE = 200, 1
COMMANDS = {
    "pretrain": [
        (*PRETRAIN, *more)
        for more in (
            ("method=byol",),
            ("method=moco_v2", "method.queue_size=64", "keep_every=1"),
            ("method=simclr", "optimizer.name=lars", "accumulate=2", "monitor.log_every=2"),
            ("method=byol", "norm.freeze_last_epochs=1"),
        )
    ],
    "finetune": [
        (*FINETUNE, *more) for more in ((), ("evaluation.every=3",), ("optimizer.name=adamw",))
    ],
}
STEPS = 9
KINDS = ("view", "weight", "buffer", "gradient", "optimizer")


def trial(chance: Chance, folder: Path) -> None:
    """Spoil a tensor of a run, then resume it, and compare it with a run without the fault."""
    tool = chance.choice(list(COMMANDS))
    settings = chance.choice(COMMANDS[tool])
    kind = chance.choice(KINDS)
    step = chance.randrange(1 if kind == "optimizer" else 0, STEPS)
    fault = Fault(kind, step, chance.choice((nan, inf, -inf)), chance.random())
    with _spoiled(fault):
        code, said = command(tool, *settings, f"run_dir={folder}")
    if not fault.name:
        return  # the run is shorter
    chance.what = f"{tool} {' '.join(settings[6:])}: {fault}"
    if code != 4:
        kind_of_fault = "traceback" if "Traceback" in said else "silent"
        raise Broken(kind_of_fault, f"exit code {code}: {said[-300:]}")
    line = re.search(r"error: (.*) became (nan|-?inf) at step (\d+);", said.splitlines()[-1])
    if not line or fault.name not in line[1] or int(line[3]) not in (step, step + 1):
        raise Broken("silent", f"named as {said.splitlines()[-1]}")
    for path in folder.glob("*.pt"):
        for name, tensor in floating_tensors(load_checkpoint(path)):
            if not tensor.isfinite().all():
                raise Broken("lost", f"{path.name} holds {name} that is not finite")
    code, said = command(tool, *settings, f"run_dir={folder}", "resume=true")
    if code:
        raise Broken("lost", f"the resume ended with {code}: {said[-300:]}")
    found, expected = contents(folder), _without_fault(tool, settings)
    names = [name for name in expected if name.endswith(".pt")]
    if different := [name for name in names if found.get(name) != expected[name]]:
        raise Broken("different", f"after the resume {', '.join(different)} differ")


@cache
def _without_fault(tool: str, settings: tuple[str, ...]) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        command(tool, *settings, f"run_dir={folder}")
        return contents(Path(folder))


@contextlib.contextmanager
def _spoiled(fault: "Fault") -> Iterator[None]:
    """Let every run of this process have a fault."""
    with contextlib.ExitStack() as patches:
        for kind in (PretrainingRun, FinetuningRun):
            real = kind.train_step
            patched = partial(fault.train_step, real)
            patches.enter_context(
                mock.patch.object(kind, "train_step", lambda *given, call=patched: call(*given))
            )
        yield


@dataclass
class Fault:
    """One number of a tensor that is spoiled at a step.

    Attributes:
        kind: kind of the tensor, one of `KINDS`.
        step: number of steps before it.
        value: new value of the number.
        place: position of tensor and number among all, in [0, 1).
        name: name of the tensor after it was spoiled.
    """

    kind: str
    step: int
    value: float
    place: float
    name: str | None = None

    def train_step(self, real: Callable[..., None], run: Run, step: int, *given: Any) -> None:
        """Carry out a step, spoiled if it is the one."""
        if step != self.step or self.name:
            real(run, step, *given)
            return
        real_views = run.make_views
        hook = run.optimizer.register_step_pre_hook(lambda *_: self._spoil(run, "gradient"))
        run.make_views = lambda *images: self._spoil_view(real_views(*images))
        self._spoil(run, self.kind if self.kind in ("weight", "buffer", "optimizer") else "")
        real(run, step, *given)
        hook.remove()
        run.make_views = real_views

    def _spoil_view(self, views: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        if self.kind == "view" and not self.name:
            self._set({"view 1": views[0]})
        return views

    def _spoil(self, run: Run, kind: str) -> None:
        if self.kind == kind:
            named = dict(run.network.named_parameters())
            states = run.optimizer.state.items()
            names = {parameter: name for name, parameter in named.items()}
            self._set(
                {
                    "weight": named,
                    "buffer": dict(floating_tensors(dict(run.network.named_buffers()))),
                    "gradient": {n: p.grad for n, p in named.items() if p.grad is not None},
                    "optimizer": {
                        f"{key} of {names[parameter]}": value
                        for parameter, state in states
                        for key, value in floating_tensors(state)
                    },
                }[kind]
            )

    @torch.no_grad()
    def _set(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self.name, tensor = list(tensors.items())[int(self.place * len(tensors))]
        place = torch.tensor(int(self.place * tensor.numel()))
        tensor[torch.unravel_index(place, tensor.shape)] = self.value
