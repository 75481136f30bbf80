"""Free memory, and a check of the settings that need memory."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ssl_norm.errors import UserError

Need = tuple[str, float]  # setting as typed, and the least memory that it takes in bytes
FLOAT = 4  # bytes of a float32


def check_memory(needs: Iterable[Need], device: str = "cpu") -> None:
    """Raise UserError for the first setting that takes more memory than is free, or a GPU has."""
    free = free_host_bytes()
    if device.startswith(("auto", "cuda")):
        import torch

        if torch.cuda.is_available():
            free = torch.cuda.get_device_properties(0).total_memory
    for setting, needed in needs:
        if needed > free:
            raise UserError(
                f"{setting} takes at least {_shown(needed)} of memory, and {_shown(free)} are "
                "free; lower it"
            )


def _shown(count: float) -> str:
    return f"{count / 1e9:.3g} GB" if count < 1e15 else f"{count / 1e15:.3g} million GB"


def free_host_bytes(processes: int = 1) -> int:
    """Return the free memory of the machine in bytes, divided by the number of its processes.

    It is the smaller of the memory that Linux reports as available and the rest of a container's
    limit (cgroup v2). On other systems, it is half of the physical memory, or 4 GiB if that is
    unknown.
    """
    limit, cgroup = 2**63, Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError):  # no such file, or no limit ("max")
        limit = int((cgroup / "memory.max").read_text())
        limit = max(0, limit - int((cgroup / "memory.current").read_text()))
    return min(_available_bytes(), limit) // processes


def _available_bytes() -> int:
    with suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    with suppress(OSError, ValueError, AttributeError):
        return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2)
    return 4 * 2**30
