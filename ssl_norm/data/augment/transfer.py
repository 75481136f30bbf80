"""Many small tensors to a device in one copy, without waiting for it."""

import torch
from torch import Tensor

from ssl_norm.data.augment.transform import Drawn

ALIGNMENT = 8  # bytes of the widest element


def to_device(parameters: list[Drawn], device: torch.device) -> list[Drawn]:
    """Return the parameters with their tensors on the device; whatever is no tensor stays."""
    if device.type == "cpu":
        return parameters
    tensors = [
        value for drawn in parameters for value in drawn.values() if isinstance(value, Tensor)
    ]
    moved = iter(move_together(tensors, device))
    return [
        {key: next(moved) if isinstance(value, Tensor) else value for key, value in drawn.items()}
        for drawn in parameters
    ]


def move_together(tensors: list[Tensor], device: torch.device) -> list[Tensor]:
    """Return copies of CPU tensors on the device, which share one buffer.

    The buffer is pinned where the device is a GPU, so that the host does not wait for the copy.
    """
    raw = [tensor.contiguous().view(-1).view(torch.uint8) for tensor in tensors]
    padded = [torch.nn.functional.pad(part, (0, -len(part) % ALIGNMENT)) for part in raw]
    packed = torch.cat(padded)
    if device.type == "cuda":
        packed = packed.pin_memory()
    pieces = torch.split(packed.to(device, non_blocking=True), [len(part) for part in padded])
    return [
        piece[: len(part)].view(tensor.dtype).view(tensor.shape)
        for piece, part, tensor in zip(pieces, raw, tensors, strict=True)
    ]
