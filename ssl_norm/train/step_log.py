"""Means of losses and speed between two rows of metrics.csv."""

import time

import torch
from torch import Tensor

from ssl_norm.distributed import world_size
from ssl_norm.errors import NonFiniteLoss


class StepLog:
    """Collects losses without waiting for the device, and turns them into means.

    Args:
        batches_per_step: number of losses added per step.
    """

    def __init__(self, batches_per_step: int = 1) -> None:
        self._batches_per_step = batches_per_step
        self._values: dict[str, list[Tensor]] = {}
        self._images = 0
        self._since = time.perf_counter()

    def add(self, images: int, loss: Tensor, **others: Tensor) -> None:
        """Take in one batch of this rank: its size, its loss, and other scalars by name."""
        self._images += images * world_size()
        for name, value in {"loss": loss, **others}.items():
            self._values.setdefault(name, []).append(value.detach())

    def means(self, step: int) -> dict[str, float]:
        """Return the means by name since the last call; waits for the device.

        Args:
            step: the number of steps done.

        Raises:
            NonFiniteLoss: a loss was NaN or infinite.
        """
        values = {name: torch.stack(v).cpu().double() for name, v in self._values.items()}
        self._values = {}
        losses = values["loss"]
        if not losses.isfinite().all():
            batch = int(losses.isfinite().logical_not().nonzero()[0])
            first = step - (len(losses) - 1 - batch) // self._batches_per_step
            raise NonFiniteLoss(
                f"the loss became {losses[batch]:g} at step {first}; "
                "a lower optimizer.lr or a longer warm-up may help"
            )
        return {name: float(value.mean()) for name, value in values.items()}

    def images_per_second(self) -> float:
        """Return the images of all ranks per second since the last call."""
        now = time.perf_counter()
        speed = self._images / (now - self._since)
        self._images, self._since = 0, now
        return speed
