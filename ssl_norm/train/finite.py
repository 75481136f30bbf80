"""Detection of NaN and infinities in the tensors of a run."""

from collections.abc import Iterator, Mapping
from math import inf, isfinite
from typing import Any

import torch
from torch import Tensor

from ssl_norm.distributed import is_distributed, world_size
from ssl_norm.errors import NonFiniteLoss

_SMALL = 4096  # largest number of elements of tensors that are summed together on the CPU


class FiniteWatch:
    """Finds the first tensor of a run with NaN or infinities, without waiting for the device.

    On the CPU, tensors are summed in far less than a hundredth of a step's time; on other devices,
    one fused kernel computes their largest magnitudes, which `check` reads.
    """

    def __init__(self) -> None:
        self._first: tuple[int, str, str] | None = None  # step, name and value
        self._waiting: list[tuple[int, list[str], Tensor]] = []

    @torch.no_grad()
    def look(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Look at floating-point tensors after `step` steps, by name.

        Call it in the order of computation, because the first tensor that is not finite is named.
        """
        here = {name: value for name, value in tensors.items() if value.device.type == "cpu"}
        if self._first is None and not isfinite(_sum_of(list(here.values()))):
            found = first_non_finite(here)
            self._first = (step, *found) if found else None
        there = {name: value for name, value in tensors.items() if name not in here}
        if there:
            largest = torch.stack(torch._foreach_norm([*there.values()], inf))
            self._waiting.append((step, [*there], largest))

    def check(self) -> None:
        """Raise NonFiniteLoss on every rank if any tensor was not finite; wait for devices."""
        for step, names, largest in self._waiting:
            values = dict(zip(names, largest.cpu(), strict=True))
            if self._first is None and (found := first_non_finite(values)):
                self._first = (step, *found)
        self._waiting = []
        first = [self._first]
        if is_distributed():
            first *= world_size()
            torch.distributed.all_gather_object(first, self._first)
        if found_at := min(filter(None, first), default=None, key=lambda one: one[0]):
            step, name, value = found_at
            raise NonFiniteLoss(
                f"{name} became {value} at step {step}; "
                "a lower optimizer.lr or a longer warm-up may help"
            )


def first_non_finite(tensors: Mapping[str, Tensor]) -> tuple[str, str] | None:
    """Return the name of the first tensor with NaN or infinities, and the first of them as text."""
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
    """Return the sum of tensors on the CPU, which is finite only if all their numbers are."""
    small = [value.flatten() for value in tensors if value.numel() <= _SMALL]
    total = float(torch.cat(small).sum()) if small else 0.0
    return total + sum(float(value.sum()) for value in tensors if value.numel() > _SMALL)
