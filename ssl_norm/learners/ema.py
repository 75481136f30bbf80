"""Target network: an EMA copy of the online network."""

import math
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from typing import Annotated, Literal

import torch
from annotated_types import Interval
from torch import Tensor, nn

from ssl_norm.names import unknown_name
from ssl_norm.norms.batch.freezing import FrozenStatistics
from ssl_norm.norms.layers.act_norm import ActNorm

Decay = Annotated[float, Interval(ge=0, le=1)]
EmaSchedule = Literal["cosine", "constant"]


def cosine_decay(base: float, progress: float) -> float:
    """Return 1 - (1 - base) (cos(pi progress) + 1) / 2, which grows from `base` to 1.

    The progress is the share of the run done, k / K at step k of K.

    Source: BYOL, arXiv 2006.07733, section 3.3.
    """
    return 1 - (1 - base) * (math.cos(math.pi * progress) + 1) / 2


_SCHEDULES: Mapping[EmaSchedule, Callable[[float, float], float]] = {
    "cosine": cosine_decay,
    "constant": lambda base, progress: base,
}


@torch.no_grad()
def move_towards(targets: Iterable[Tensor], sources: Iterable[Tensor], decay: float) -> None:
    """Set every target to decay * target + (1 - decay) * source, in place; copy integers."""
    pairs = list(zip(targets, sources, strict=True))
    floating = [pair for pair in pairs if pair[0].is_floating_point()]
    if floating:
        moving, followed = (list(side) for side in zip(*floating, strict=True))
        torch._foreach_lerp_(moving, followed, 1 - decay)
    for target, source in pairs:
        if not target.is_floating_point():
            target.copy_(source)


class EmaTarget(nn.Sequential):
    """EMA copy of some modules, applied in order and without gradients.

    The copy has the mode of its learner: in training its batch norms use batch statistics, as
    published. Norms that initialize from their first batch
    (:class:`ssl_norm.norms.layers.act_norm.ActNorm`) take over the values of the online network, if
    it has already processed a batch.

    Args:
        modules: modules to copy, for example encoder and projector.
        decay: weight of the old value at the start of the run, in [0, 1].
        schedule: schedule of the decay over the run, `cosine` to 1 or `constant`.
        ema_buffers: True: buffers are updated by EMA as well, and forward passes do not change
            them. False: the copy's batch norms have their own running statistics, as published.
    """

    def __init__(
        self,
        modules: Iterable[nn.Module],
        *,
        decay: Decay,
        schedule: EmaSchedule,
        ema_buffers: bool,
    ) -> None:
        if not 0 <= decay <= 1:
            raise ValueError(f"ema_decay must be in [0, 1], got {decay}")
        if schedule not in _SCHEDULES:
            raise ValueError(unknown_name("ema_schedule", schedule, _SCHEDULES))
        followed = nn.Sequential(*modules)
        super().__init__(*(deepcopy(module) for module in followed))
        self.requires_grad_(False)
        self._not_begun = [
            (twin, layer)
            for twin, layer in zip(self.modules(), followed.modules(), strict=True)
            if isinstance(twin, ActNorm) and isinstance(layer, ActNorm)
        ]
        self.decay = decay
        self.schedule = schedule
        self.ema_buffers = ema_buffers

    @torch.no_grad()
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Return the copy's output, detached."""
        if self.training:
            for twin, layer in self._not_begun:
                twin.begin_as(layer)
            self._not_begun = [pair for pair in self._not_begun if not pair[0].known_initialized]
        before = [buffer.clone() for buffer in self.buffers()] if self.ema_buffers else []
        for module in self:
            input = module(input)  # noqa: A001
        for buffer, value in zip(self.buffers(), before, strict=False):
            buffer.copy_(value)
        return input

    def follow(self, modules: Iterable[nn.Module], progress: float) -> None:
        """Update by EMA of the copied modules; `progress` in [0, 1]: share of the run done."""
        online = nn.Sequential(*modules)
        decay = _SCHEDULES[self.schedule](self.decay, progress)
        move_towards(self.parameters(), online.parameters(), decay)
        if self.ema_buffers:  # except buffers of frozen layers
            twins = zip(self.modules(), online.modules(), strict=True)
            following = [pair for pair in twins if not isinstance(pair[0], FrozenStatistics)]
            targets, sources = (
                [buffer for pair in following for buffer in pair[side].buffers(recurse=False)]
                for side in (0, 1)
            )
            move_towards(targets, sources, decay)
