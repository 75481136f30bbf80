"""Processes of torchrun and sweep of Hydra to which a run belongs; torch is not imported."""

import os
import sys
from dataclasses import dataclass

from ssl_norm.errors import UserError


@dataclass(frozen=True)
class Launch:
    """Rank of this process and number of processes."""

    world_size: int  # number of processes on all machines
    rank: int  # rank of this process, in [0, world_size)
    local_rank: int  # rank of this process on its machine
    local_world_size: int  # number of processes on its machine


def read_launch() -> Launch:
    """Return the launch that the environment describes; by default, a single process."""
    world_size = _number("WORLD_SIZE", 1, lowest=1)
    rank = _number("RANK", 0)
    local_rank = _number("LOCAL_RANK", 0)
    needed = ("RANK", "MASTER_ADDR", "MASTER_PORT") if world_size > 1 else ()
    missing = [name for name in needed if not os.environ.get(name)]
    if missing:
        raise UserError(
            f"the environment has WORLD_SIZE={world_size} without {', '.join(missing)}; "
            "start with torchrun, which sets all of them, or unset WORLD_SIZE to run one process"
        )
    if rank >= world_size:
        raise UserError(
            f"the environment has RANK={rank} with WORLD_SIZE={world_size}: a rank below "
            f"{world_size} expected; start with torchrun, which sets both, or unset RANK"
        )
    if world_size > 1:
        _number("MASTER_PORT", 0, lowest=1, highest=65535)
    return Launch(world_size, rank, local_rank, _number("LOCAL_WORLD_SIZE", 1, lowest=1))


def is_first_process() -> bool:
    """Return whether this is rank zero; it is True on every rank if the environment is invalid."""
    try:
        return read_launch().rank == 0
    except UserError:
        return True


def processes_of(device: str, batch_size: int) -> int:
    """Return the number of processes that share a batch."""
    processes = read_launch().world_size
    if processes > 1 and device.startswith(("cuda:", "mps")):
        raise UserError(
            f"device={device} with {processes} processes: each process needs a GPU; use device=cuda"
        )
    if batch_size % processes:
        raise UserError(
            f"batch_size={batch_size} cannot be shared equally by {processes} processes; "
            f"use a multiple of {processes}"
        )
    return processes


def require_one_process(tool: str) -> None:
    """Raise UserError if a tool that runs in one process was started in several."""
    processes = read_launch().world_size
    if processes > 1:
        raise UserError(
            f"{tool} runs in one process, and {processes} were started; start it with python"
        )


def resumes_sweep() -> bool:
    """Return whether this run is in a sweep whose folder was given, so that a resume finds it."""
    if "hydra" not in sys.modules:
        return False
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get() if HydraConfig.initialized() else None
    return hydra is not None and any(
        override.lstrip("+").startswith("hydra.sweep.dir=") for override in hydra.overrides.hydra
    )


def _number(name: str, default: int, *, lowest: int = 0, highest: int = 10**6) -> int:
    text = os.environ.get(name)
    if text is None:
        return default
    if not text.isdecimal() or not lowest <= int(text) <= highest:
        raise UserError(
            f"the environment has {name}='{text}': an integer in [{lowest}, {highest}] expected; "
            "start with torchrun, which sets it, or unset it to run one process"
        )
    return int(text)
