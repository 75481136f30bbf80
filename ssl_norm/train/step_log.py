"""Losses, speed and non-finite tensors between two rows of metrics.csv."""

import time
from collections.abc import Iterator, Mapping
from math import inf, isfinite
from typing import Any

import torch
from torch import Tensor

from ssl_norm.distributed import is_distributed, world_size
from ssl_norm.errors import NonFiniteLoss

_SMALL = 4096  # numbers; on the CPU, tensors up to this size are summed together


class StepLog:
    """Log of losses, and check of tensors for NaN and infinities, without waiting for the device.

    On the CPU, tensors are summed, in 2 % of the time of a step of resnet10t (results/speed.md); on
    other devices, one fused kernel computes their largest magnitudes, which `means` reads.
    """

    def __init__(self) -> None:
        self._values: dict[str, list[Tensor]] = {}
        self._images = 0
        self._since = time.perf_counter()
        # Step, name and value of the first tensor that is not finite.
        self._spoiled: tuple[int, str, str] | None = None
        self._waiting: list[tuple[int, list[str], Tensor]] = []

    def add(self, step: int, images: int, loss: Tensor, **others: Tensor) -> None:
        """Add one batch of this rank: its step (from 1), size, loss, and other scalars by name."""
        self.look(step, {"the loss": loss})
        self._images += images * world_size()
        for name, value in {"loss": loss, **others}.items():
            self._values.setdefault(name, []).append(value.detach())

    @torch.no_grad()
    def look(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Check floating-point tensors after `step` steps.

        Call it in the order of computation, because an error names the first faulty tensor.
        """
        here = {name: value for name, value in tensors.items() if value.device.type == "cpu"}
        if self._spoiled is None and not isfinite(_sum_of(list(here.values()))):
            found = first_non_finite(here)
            self._spoiled = (step, *found) if found else None
        there = {name: value for name, value in tensors.items() if name not in here}
        if there:
            largest = torch.stack(torch._foreach_norm([*there.values()], inf))
            self._waiting.append((step, [*there], largest))

    def means(self) -> dict[str, float]:
        """Return the means by name since the last call; waits for the device.

        Raises:
            NonFiniteLoss: raised on every rank if a tensor of any rank was NaN or infinite.
        """
        for step, names, largest in self._waiting:
            norms = dict(zip(names, largest.cpu(), strict=True))
            if self._spoiled is None and (found := first_non_finite(norms)):
                self._spoiled = (step, *found)
        self._waiting = []
        spoiled = [self._spoiled]
        if is_distributed():
            spoiled *= world_size()
            torch.distributed.all_gather_object(spoiled, self._spoiled)
        if first := min(filter(None, spoiled), default=None, key=lambda one: one[0]):
            step, name, value = first
            raise NonFiniteLoss(
                f"{name} became {value} at step {step}; "
                "a lower optimizer.lr or a longer warm-up may help"
            )
        values = {name: torch.stack(v).cpu().double() for name, v in self._values.items()}
        self._values = {}
        return {name: float(of_name.mean()) for name, of_name in values.items()}

    def images_per_second(self) -> float:
        """Return the images of all ranks per second since the last call."""
        now = time.perf_counter()
        speed = self._images / (now - self._since)
        self._images, self._since = 0, now
        return speed


def first_non_finite(tensors: Mapping[str, Tensor]) -> tuple[str, str] | None:
    """Return the name of the first tensor with NaN or infinities, and its first such value."""
    for name, value in tensors.items():
        wrong = value.isfinite().logical_not()
        if wrong.any():
            return name, f"{value[wrong][0].item():g}"
    return None


def floating_tensors(content: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the floating-point tensors in nested containers, by dotted name."""
    if isinstance(content, Tensor):
        if content.is_floating_point():
            yield name, content
    elif isinstance(content, Mapping | list | tuple):
        items = content.items() if isinstance(content, Mapping) else enumerate(content)
        for key, value in items:
            yield from floating_tensors(value, f"{name}.{key}" if name else str(key))


def _sum_of(tensors: list[Tensor]) -> float:
    """Return the sum of tensors on the CPU; it is finite only if all their numbers are."""
    small = [value.flatten() for value in tensors if value.numel() <= _SMALL]
    total = float(torch.cat(small).sum()) if small else 0.0
    return total + sum(float(value.sum()) for value in tensors if value.numel() > _SMALL)
