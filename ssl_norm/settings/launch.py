"""The processes and the sweep that settings are checked against."""

import sys

from ssl_norm.errors import UserError
from ssl_norm.launch import read_launch


def processes_of(device: str, batch_size: int) -> int:
    """Return the number of processes that share a batch.

    Raises:
        UserError: the device or the batch does not fit that number.
    """
    processes = read_launch().world_size
    if processes > 1 and device.startswith(("cuda:", "mps")):
        raise UserError(
            f"device={device} with {processes} processes: each process takes its own GPU; "
            "use device=cuda"
        )
    if batch_size % processes:
        raise UserError(
            f"batch_size={batch_size} cannot be shared equally by {processes} processes; "
            f"use a multiple of {processes}"
        )
    return processes


def require_one_process(tool: str) -> None:
    """Raise UserError if a tool without distributed training was started in several processes."""
    processes = read_launch().world_size
    if processes > 1:
        raise UserError(
            f"{tool} runs in one process, and {processes} were started; start it with python"
        )


def resumes_sweep() -> bool:
    """Return whether this is a run of a sweep whose folder was named, so that runs can be found."""
    if "hydra" not in sys.modules:
        return False
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get() if HydraConfig.initialized() else None
    return hydra is not None and any(
        override.lstrip("+").startswith("hydra.sweep.dir=") for override in hydra.overrides.hydra
    )
