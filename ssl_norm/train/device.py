"""Which device, which number format, and how several processes meet."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

from ssl_norm.errors import UserError


def pick_device(name: str) -> torch.device:
    """Return the device that `auto`, `cpu`, `cuda`, `cuda:1` or `mps` stands for; under torchrun each rank's own GPU.

    Raises:
        UserError: the name is not a device, or this machine has no such device.
    """
    if name == "auto":
        name = (
            "cuda"
            if torch.cuda.is_available()
            else "mps"
            if torch.backends.mps.is_available()
            else "cpu"
        )
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(
            f"device: '{name}' is no device; expected auto, cpu, cuda, cuda:<number> or mps"
        ) from None
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"device={device}: this machine has {torch.cuda.device_count()} CUDA devices; use device=auto"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("device=mps: not available on this machine; use device=auto")
    if device.type not in ("cpu", "cuda", "mps"):
        raise UserError(
            f"device: '{name}' is not supported; expected auto, cpu, cuda, cuda:<number> or mps"
        )
    return device


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """Return the context of the forward pass: bfloat16 where asked for, or where `auto` finds a GPU that has it."""
    has_bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
    use_bfloat16 = precision == "bfloat16" or (precision == "auto" and has_bfloat16)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=use_bfloat16)


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the other ranks for the length of a run where torchrun started several; otherwise do nothing."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()
