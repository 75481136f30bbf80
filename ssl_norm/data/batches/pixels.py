"""Places of the pixels of a set: a GPU, host memory, or a mapped file."""

import os
from typing import NamedTuple

import torch
from torch import Tensor

from ssl_norm.data.dataset import ImageSet
from ssl_norm.errors import UserError
from ssl_norm.memory import free_host_bytes
from ssl_norm.names import unknown_name

_CHUNK = 4096  # images copied at once, so that a set on a GPU needs no second copy on the host


class Placed(NamedTuple):
    """Pixels of a set of N images."""

    pixels: Tensor  # (M, H, W, 3) uint8, on a GPU or on the CPU
    rows: Tensor  # (N,) int64 on the same device, the rows of `pixels` that belong to the set
    mapped: bool  # whether `pixels` are in a file


def fits(needed: int, free: int) -> bool:
    """Return whether bytes fit into half of the free ones, which leaves half for the work."""
    return needed <= free // 2


def place_pixels(images: ImageSet, device: torch.device, resident: bool | str) -> Placed:
    """Return the pixels of a set in the place that its batches are drawn from.

    Args:
        images: N images.
        device: of the batches.
        resident: `auto`: on a GPU if they fit into half of its free memory, else in host memory by
            the same rule, else where they are. True: on the GPU if they fit, else in host memory.
            False: where they are. Others: UserError.
    """
    choice = str(resident).lower()
    if choice not in ("auto", "true", "false"):
        raise UserError(unknown_name("data.resident", resident, ("auto", "true", "false")))
    rows = torch.arange(len(images)) if images.rows is None else images.rows
    if choice == "false":
        return Placed(images.pixels, rows, images.mapped)
    needed = len(images) * images.pixels[0].numel()
    if device.type == "cuda" and fits(needed, torch.cuda.mem_get_info(device)[0]):
        return _copy(images, device)
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if images.mapped and (choice == "true" or fits(needed, free_host_bytes(processes))):
        return _copy(images, torch.device("cpu"))
    return Placed(images.pixels, rows, images.mapped)


def _copy(images: ImageSet, device: torch.device) -> Placed:
    pixels = torch.empty((len(images), *images.image_shape), dtype=torch.uint8, device=device)
    for first in range(0, len(images), _CHUNK):
        index = torch.arange(first, min(first + _CHUNK, len(images)))
        pixels[first : first + _CHUNK] = images.take(index)
    return Placed(pixels, torch.arange(len(images), device=device), mapped=False)
