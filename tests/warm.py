"""Processes that are forked from a server with the libraries of the package imported.

A new interpreter takes seconds to import them. A forked one has its own folder, environment,
streams and session, and imports `ssl_norm` itself. Variables that Python reads at its start
(`PYTHON*` except the path) or these libraries read at import have the values of the server.
"""

import atexit
import multiprocessing
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

LIBRARIES = ("torch", "torch._dynamo", "hydra", "pydantic", "rich", "sklearn.datasets", "pytest")


class Process:
    """A command of Python in a forked process, with the methods of :class:`subprocess.Popen`.

    Args:
        command: arguments of the interpreter: `-m module`, `-c code` or a script, and its own.
        cwd: folder of the process; None: of this one.
        env: its environment; None: of this process.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        cwd: str | Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.args = list(map(str, command))
        folder = tempfile.mkdtemp()
        weakref.finalize(self, shutil.rmtree, folder)
        self._outputs = [Path(folder, name) for name in ("stdout", "stderr")]
        environment = dict(os.environ if env is None else env)
        given = self.args, str(cwd or Path.cwd()), environment, self._outputs
        self._process = _server().Process(target=_run, args=given)
        self._process.start()
        assert self._process.pid
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit code, minus the signal that ended it, or None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code once it ends."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Return the text of stdout and stderr once it ends."""
        self.wait(timeout)
        out, err = (path.read_text() for path in self._outputs)
        return out, err


def run(command: Sequence[str | Path], **options: Any) -> subprocess.CompletedProcess[str]:
    """Return exit code, stdout and stderr of a command; see :class:`Process`."""
    process = Process(command, **options)
    out, err = process.communicate()
    return subprocess.CompletedProcess(process.args, process.wait(), out, err)


def ranks(compute: Callable[..., None], count: int, folder: Path, *given: Any) -> list[Any]:
    """Call `compute(rank, folder, ...)` on each rank; return the contents of each rank<n>.pt."""
    _server()
    torch.multiprocessing.start_processes(
        compute, args=(folder, *given), nprocs=count, start_method="forkserver"
    )
    return [torch.load(folder / f"rank{index}.pt") for index in range(count)]


def _server() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(LIBRARIES))
    return context


def _run(command: list[str], cwd: str, environment: dict[str, str], outputs: list[Path]) -> None:
    """Become a new interpreter's process for a command."""
    os.setsid()
    os.chdir(cwd)
    for number, path in enumerate((os.devnull, *outputs)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
    before = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(int(environment.get("OMP_NUM_THREADS", torch.get_num_threads())))
    for name in [name for name in sys.modules if name.split(".")[0] in ("tests", "ssl_norm")]:
        del sys.modules[name]
    own = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    is_option = command[0] in ("-m", "-c")
    first = cwd if is_option else str(Path(command[0]).resolve().parent)
    sys.path[:] = [first, *filter(None, own), *(p for p in sys.path if p and p not in before)]
    sys.argv = command[is_option:]
    try:
        if command[0] == "-m":
            runpy.run_module(command[1], run_name="__main__", alter_sys=True)
        elif command[0] == "-c":
            exec(compile(command[1], "<string>", "exec"), {"__name__": "__main__"})
        else:
            runpy.run_path(command[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()
