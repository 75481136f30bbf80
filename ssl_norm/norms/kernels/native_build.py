"""Build of passes.cpp at its first use, kept in the cache folder."""

import functools
import hashlib
import os
import platform
import shutil
import subprocess
from ctypes import CDLL
from pathlib import Path

from ssl_norm.files import default_cache_dir, unfinished

SOURCE = Path(__file__).with_name("passes.cpp")
FLAGS = (
    *("-std=c++17", "-O3", "-march=native", "-fopenmp", "-fno-math-errno", "-fno-trapping-math"),
    *("-shared", "-fPIC"),
)
SWITCH = "SSL_NORM_KERNELS"  # environment variable; 0: compile nothing


@functools.cache
def library(**macros: str) -> CDLL | None:
    """Return the passes compiled with macros, or None if this fails or is switched off.

    The file name depends on source, macros, flags, compiler and CPU. Processes that compile it at
    the same time each write a temporary file and rename it.
    """
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None or os.environ.get(SWITCH, "1") == "0":
        return None
    arguments = [*FLAGS, *(f"-D{name}={value}" for name, value in macros.items())]
    try:
        folder = default_cache_dir() / "kernels"
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{_key(compiler, arguments)}.so"
        if not file.exists():
            _compile(compiler, arguments, file)
        return CDLL(str(file))
    except (OSError, subprocess.SubprocessError):
        return None


def _compile(compiler: str, arguments: list[str], file: Path) -> None:
    partial = unfinished(file.parent)
    try:
        command = [compiler, *arguments, str(SOURCE), "-o", str(partial)]
        subprocess.run(command, check=True, capture_output=True)
        os.replace(partial, file)
    finally:
        partial.unlink(missing_ok=True)


def _key(compiler: str, arguments: list[str]) -> str:
    """Return a hash of everything that the compiled code depends on."""
    program = Path(compiler).resolve().stat()
    parts = (compiler, program.st_size, program.st_mtime_ns, arguments, _cpu())
    return hashlib.sha256(SOURCE.read_bytes() + repr(parts).encode()).hexdigest()[:32]


def _cpu() -> str:
    """Return the instruction sets of the CPU, or its name if the system does not list them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
