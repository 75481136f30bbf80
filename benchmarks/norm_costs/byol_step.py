"""Seconds of a whole training step of BYOL with each norm in its encoder."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch.optim import Optimizer

from ssl_norm.learners.learner import Learner
from ssl_norm.models.encoders import build_encoder
from ssl_norm.norms.swap.replace import replace_norms
from ssl_norm.settings.pretrain import PretrainOptimizer, PretrainSettings
from ssl_norm.settings.sections import DataSettings, EncoderSettings
from ssl_norm.train.builder import make_learner, optimizer_of

from .timing import Clock, Spread, alternate, spread

SIDE = 32  # pixels
REFERENCE_NORM = "bn"
Views = Sequence[torch.Tensor]


@dataclass(frozen=True)
class StepCost:
    """Cost of a training step with one norm.

    Attributes:
        seconds: median over the rounds.
        ratio: ratio to bn in the same round.
    """

    seconds: float
    ratio: Spread


def make_byol(
    encoder: EncoderSettings, norm: str | None, memory_format: torch.memory_format
) -> Learner:
    """Return BYOL with bn in its heads, and with a norm in its encoder; None: the encoder's own."""
    torch.manual_seed(0)
    config = PretrainSettings(method="byol", data=DataSettings(image_size=SIDE), encoder=encoder)
    network = build_encoder(encoder.name, small_images=encoder.small_images, image_size=SIDE)
    if norm is not None:
        replace_norms(network, norm)
    return make_learner(config, network).to(memory_format=memory_format).train()


def training_step(learner: Learner, optimizer: Optimizer) -> Callable[[Views], None]:
    """Return a training step on two given views (N, 3, H, W)."""

    def step(views: Views) -> None:
        output = learner(*views)
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        learner.after_step(0.5)

    return step


def measure_steps(
    norms: Iterable[str],
    *,
    encoder: EncoderSettings,
    batch_size: int,
    channels_last: bool,
    rounds: int,
    clock: Clock,
    title: str,
) -> dict[str, StepCost]:
    """Return the cost of a step with each norm in the encoder, by name; bn is always included.

    Before the measurement, each norm makes one step on a few images, and bn one on all.
    """
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    few, many = (
        [torch.randn(n, 3, SIDE, SIDE).to(memory_format=memory_format) for _ in range(2)]
        for n in (2, batch_size)
    )
    names = dict.fromkeys([REFERENCE_NORM, *norms])
    steps = {}
    for name in names:
        learner = make_byol(encoder, name, memory_format)
        # Its rate is 0, so the weights stay finite.
        steps[name] = training_step(learner, optimizer_of(PretrainOptimizer(), learner))
    for step in steps.values():
        step(few)
    steps[REFERENCE_NORM](many)
    calls = {"step": {name: partial(step, many) for name, step in steps.items()}}
    seconds = {
        name: cases["step"]
        for name, cases in alternate(calls, rounds, clock, title, warm_up=0).items()
    }
    return {
        name: StepCost(round(float(np.median(taken)), 4), spread(taken / seconds[REFERENCE_NORM]))
        for name, taken in seconds.items()
    }
