"""Versions, hardware and command of a run."""

import platform
import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import torch

import ssl_norm
from ssl_norm.text import counted


def describe_environment(device: torch.device) -> dict[str, str]:
    """Return the versions of code and libraries, and the hardware, as text."""
    return {
        "ssl_norm": ssl_norm.__version__,
        "commit": _git_commit(),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "hardware": hardware(device),
        "command": shlex.join(sys.orig_argv[1:]),
    }


def _git_commit() -> str:
    """Return the commit of the code, with `-dirty` if files differ; `unknown` outside git."""
    describe = ["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        # The package may be installed inside the user's repository.
        _git("ls-files", "--error-unmatch", __file__)
        return _git(*describe)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def hardware(device: torch.device) -> str:
    """Return the name of the GPU, or that of the CPU with the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    lines: list[str] = []
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return (
        f"{next(names, f'{platform.machine()} CPU')}, {counted(torch.get_num_threads(), 'thread')}"
    )
