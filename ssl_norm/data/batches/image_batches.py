"""Batches of images in an order that depends only on seed and step."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from ssl_norm.data.batches.sampler import epoch_order
from ssl_norm.data.dataset import ImageSet, Resident, place_pixels
from ssl_norm.distributed import on_device
from ssl_norm.errors import UserError


class Batches:
    """Batches of a set of N images over epochs.

    Each epoch is a new permutation, whose last incomplete batch is dropped. Rank r of W gets rows
    [r B/W, (r+1) B/W) of each batch of B, so that all ranks together see the same batches as one
    process. `batch_size` counts the images of all ranks, and `resident` is that of `place_pixels`.

    `workers` threads gather pixels that are not on the device, a few batches ahead: this is a
    memory copy that does not hold the GIL. The worker processes of torch's DataLoader would copy
    once more, through /dev/shm, which has only 64 MB in a default container.

    Raises:
        UserError: `batch_size` is not in [1, N], or not a multiple of `world_size`.
    """

    def __init__(
        self,
        images: ImageSet,
        *,
        batch_size: int,
        seed: int,
        device: torch.device,
        resident: Resident = "auto",
        workers: int = 2,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if not 1 <= batch_size <= len(images):
            raise UserError(
                f"batch_size={batch_size}: expected 1 to {len(images)}, "
                "the number of images to pretrain on"
            )
        if batch_size % world_size:
            raise UserError(
                f"batch_size={batch_size} cannot be shared equally by {world_size} processes"
            )
        self.steps_per_epoch = len(images) // batch_size
        self._images = place_pixels(images, device, resident)
        self._device, self._seed, self._workers = device, seed, workers
        self._batch_size, self._local_size = batch_size, batch_size // world_size
        self._offset = rank * self._local_size

    @property
    def is_resident(self) -> bool:
        """True if the pixels are in the memory of the device."""
        return self._images.pixels.device.type == self._device.type and not self._images.mapped

    def iterate(self, start: int, stop: int) -> Iterator[Tensor]:
        """Yield this rank's part of the batches `start` ... `stop` - 1, counted over all epochs.

        A part is (batch_size / world_size, 3, H, W) uint8 on the device, channels last in memory.
        """
        rows = self._rows(start, stop)
        is_ahead = self._workers > 0 and not self.is_resident
        for batch in self._gather_ahead(rows) if is_ahead else map(self._images.take, rows):
            yield on_device(batch, self._device).permute(0, 3, 1, 2)

    def _rows(self, start: int, stop: int) -> Iterator[Tensor]:
        """Yield the indices of the images of each batch of this rank."""
        latest, order = -1, torch.empty(0)
        for step in range(start, stop):
            epoch, place = divmod(step, self.steps_per_epoch)
            if epoch != latest:
                order = epoch_order(len(self._images), self._seed, epoch)
                latest, order = epoch, order.to(self._images.pixels.device)
            first = place * self._batch_size + self._offset
            yield order[first : first + self._local_size]

    def _gather_ahead(self, rows: Iterator[Tensor]) -> Iterator[Tensor]:
        """Yield the pixels at `rows` while threads gather the next ones, pinned for a GPU."""
        pending: deque[Future[Tensor]] = deque()
        with ThreadPoolExecutor(self._workers) as threads:
            for part in rows:
                shape, is_gpu = (len(part), *self._images.image_shape), self._device.type == "cuda"
                out = torch.empty(shape, dtype=torch.uint8, pin_memory=is_gpu)
                pending.append(threads.submit(self._images.take, part, out))
                if len(pending) > 2 * self._workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
