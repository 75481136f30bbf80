"""Build of C++ files at their first use, kept in a folder that only the user can write to."""

import functools
import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from ctypes import CDLL
from pathlib import Path

from ssl_norm.files import default_cache_dir, unfinished

FOLDER = Path(__file__).parent
FLAGS = (
    *("-std=c++17", "-O3", "-march=native", "-fopenmp", "-fno-math-errno", "-fno-trapping-math"),
    *("-shared", "-fPIC"),
)
SWITCH = "SSL_NORM_KERNELS"  # environment variable; 0: compile nothing
LONGEST = 300  # seconds of a compilation


@functools.cache
def library(source: str = "passes.cpp", **macros: str) -> CDLL | None:
    """Return a file compiled with macros, or None if this fails or is switched off."""
    try:
        return _loaded(source, macros)[0]
    except (OSError, subprocess.SubprocessError):
        return None


def describe() -> str:
    """Return whether the passes run here, with the compiler, or the reason why they do not."""
    try:
        compiler = _compiler()
        _, was_cached = _loaded("passes.cpp", {"SCALAR": "float", "MAP": "Affine"})
        version = subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").splitlines()
        failed = f"{compiler} failed with exit code {error.returncode}"
        return f"no ({next((line for line in lines if 'error' in line), failed)})"
    except (OSError, subprocess.SubprocessError) as error:
        return f"no ({error})"
    name = next(iter(version.splitlines()), compiler)
    return f"yes ({name}, {'cached' if was_cached else 'compiled now'})"


def _loaded(source: str, macros: Mapping[str, str]) -> tuple[CDLL, bool]:
    """Return a compiled file, and whether it was in the cache.

    The file name depends on sources, macros, flags, compiler and CPU, and on the content: a damaged
    file, whose dlopen could end the process, is compiled again.
    """
    compiler = _compiler()
    arguments = [*FLAGS, *(f"-D{name}={value}" for name, value in macros.items())]
    folder, key = _private_folder(), _key(compiler, [*arguments, source])
    for file in folder.glob(f"{key}-*.so"):
        if file.name == _name(key, file.read_bytes()):
            return CDLL(str(file)), True
    partial = unfinished(folder)
    try:
        command = [compiler, *arguments, str(FOLDER / source), "-o", str(partial)]
        subprocess.run(command, check=True, capture_output=True, timeout=LONGEST)
        found = CDLL(str(partial))
        os.replace(partial, folder / _name(key, partial.read_bytes()))
    finally:
        partial.unlink(missing_ok=True)
    return found, False


def _compiler() -> str:
    """Return the C++ compiler; OSError if there is none, or nothing may be compiled."""
    if os.environ.get(SWITCH, "1") == "0":
        raise OSError(f"switched off by {SWITCH}=0")
    name = os.environ.get("CXX", "c++")
    found = shutil.which(name)
    if found is None:
        raise OSError(f"there is no C++ compiler {name}")
    return found


def _private_folder() -> Path:
    """Return the folder of compiled files; OSError if others could put code there."""
    folder = default_cache_dir() / "kernels"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.stat()
    if os.name != "nt" and (status.st_uid != os.geteuid() or status.st_mode & 0o022):
        raise OSError(f"{folder} belongs to another user, or others can write to it")
    return folder


def _name(key: str, content: bytes) -> str:
    return f"{key}-{hashlib.sha256(content).hexdigest()[:16]}.so"


def _key(compiler: str, arguments: list[str]) -> str:
    """Return a hash of everything that the compiled code depends on."""
    program = Path(compiler).resolve().stat()
    parts = (compiler, program.st_size, program.st_mtime_ns, arguments, _cpu())
    sources = (file.read_bytes() for file in sorted(FOLDER.glob("*.[ch]*")))
    return hashlib.sha256(b"".join(sources) + repr(parts).encode()).hexdigest()[:32]


def _cpu() -> str:
    """Return the instruction sets of the CPU, or its name if the system does not list them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
