"""Locks of folders and files that only one process may write."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import count
from pathlib import Path

from ssl_norm.console import say
from ssl_norm.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold a lock file; the kernel unlocks it when this process ends, also if it is killed.

    The file names process and host. Raise UserError, which names `what` is locked, such as
    `run_dir=x`, if another process holds it.
    """
    descriptor = _open_locked(path, what)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        path.unlink(missing_ok=True)  # before the unlock, so that no other process has the file
        os.close(descriptor)


def _open_locked(path: Path, what: str) -> int:
    """Return the descriptor of a lock file after locking it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if fcntl is None:
                raise OSError("this system has no flock")
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            text = os.read(descriptor, 200).decode(errors="replace")
            os.close(descriptor)
            holder = "".join(filter(str.isprintable, text)) or "another process"
            elsewhere = holder.rpartition(" on ")[2] not in (holder, socket.gethostname())
            down = f", or delete {path} if that machine is down" if elsewhere else ""
            raise UserError(
                f"{what} is being written by {holder}; wait until it ends or stop it{down}, "
                "or name another place"
            ) from error
        except OSError as error:  # some network file systems
            say(f"warning: {what} cannot be locked ({error}); let no second process write there")
            return descriptor
        if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
        os.close(descriptor)  # the previous holder has just deleted this file


def new_folder(parent: Path, name: str = "") -> Path:
    """Make a folder named by the time and `name`, with a number if it exists."""
    began = f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    for number in count(1):
        folder = parent / f"{began}{f'-{number}' if number > 1 else ''}{name}"
        with suppress(FileExistsError):
            folder.mkdir(parents=True)
            break
    return folder
