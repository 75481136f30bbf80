"""Device, precision and process group of a run."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

from ssl_norm.errors import UserError
from ssl_norm.launch import read_launch


def pick_device(name: str) -> torch.device:
    """Return the device of a name; under torchrun each process gets its own GPU.

    Names are `auto` (a CUDA GPU if there is one, else the CPU), `cpu`, `cuda`, `cuda:1`, `mps`.

    Raises:
        UserError: it is not a device, or this machine has too few GPUs.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda", "mps"):
        raise UserError(
            f"device: '{name}' is not a device; known: auto, cpu, cuda, cuda:<number>, mps"
        )
    if device.type == "cuda":
        return _pick_gpu(device)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("device=mps: not available on this machine; use device=auto")
    return device


def _pick_gpu(device: torch.device) -> torch.device:
    """Return the GPU of this process, and make it the current one."""
    found = torch.cuda.device_count()
    launch = read_launch()
    wanted = launch.local_world_size if device.index is None else device.index + 1
    if wanted > found:
        raise UserError(
            f"device={device}: {wanted} CUDA devices needed, this machine has {found}; "
            "start fewer processes or use device=cpu"
        )
    index = launch.local_rank if device.index is None else device.index
    torch.cuda.set_device(index)
    torch.backends.cudnn.benchmark = True  # sizes do not change during a run
    return torch.device("cuda", index)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """Return the context of a forward pass on a device.

    `precision`: `float32`; `bfloat16`; `auto`: bfloat16 on GPUs that have it in hardware.
    """
    in_hardware = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    use_bfloat16 = precision == "bfloat16" or (precision == "auto" and in_hardware)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=use_bfloat16)


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the processes of torchrun for the duration of a run; do nothing for one process."""
    if read_launch().world_size == 1:
        yield
        return
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()
