"""Means of losses and speed between two rows of metrics.csv."""

import time

import torch
from torch import Tensor

from ssl_norm.distributed import world_size
from ssl_norm.train.finite import FiniteWatch


class StepLog:
    """Collects losses without waiting for the device, and turns them into means.

    Attributes:
        watch: checks the losses and other tensors of the steps.
    """

    def __init__(self) -> None:
        self.watch = FiniteWatch()
        self._values: dict[str, list[Tensor]] = {}
        self._images = 0
        self._since = time.perf_counter()

    def add(self, step: int, images: int, loss: Tensor, **others: Tensor) -> None:
        """Add one batch of this rank: its step (from 1), size, loss, and other scalars by name."""
        self.watch.look(step, {"the loss": loss})
        self._images += images * world_size()
        for name, value in {"loss": loss, **others}.items():
            self._values.setdefault(name, []).append(value.detach())

    def means(self) -> dict[str, float]:
        """Return the means by name since the last call; waits for the device.

        Raises:
            NonFiniteLoss: a loss or another watched tensor was NaN or infinite.
        """
        self.watch.check()
        values = {name: torch.stack(v).cpu().double() for name, v in self._values.items()}
        self._values = {}
        return {name: float(value.mean()) for name, value in values.items()}

    def images_per_second(self) -> float:
        """Return the images of all ranks per second since the last call."""
        now = time.perf_counter()
        speed = self._images / (now - self._since)
        self._images, self._since = 0, now
        return speed
