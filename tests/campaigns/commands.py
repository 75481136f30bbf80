"""Commands of the tools in this process or in a forked one."""

import atexit
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from ssl_norm.train.checkpoint import load_checkpoint
from ssl_norm.train.step_log import floating_tensors
from tests import tool as tools
from tests.campaigns.campaign import Broken
from tests.data.image_files_on_disk import noise

SECONDS = 900  # after which a command counts as one that hangs

SMALL = (
    "data=digits", "data.image_size=8", "device=cpu", "loggers=[]", "batch_size=16",
    "encoder.name=tiny16",
)  # fmt: skip
PRETRAIN = (*SMALL, "data.limit=48", "epochs=3", "linear_probe=false")
FINETUNE = (*SMALL, "labels=64", "steps=9", "checkpoint_every=3", "log_every=4")
OUT = ("run_dir={folder}/out", "resume=true")
PROBE = ("checkpoint={folder}/run", "labels=0.1", "device=cpu")
# Commands that write other files than those of a run; {folder} is one that `prepared` filled.
OTHERS = (
    ("linear_eval", PROBE),
    ("linear_eval", (*PROBE, "kept=true", "random_init=false")),
    ("population_stats", (*PROBE, "samples=48")),
    ("report", ("runs={folder}/run",)),
    ("pretrain", (
        *PRETRAIN[2:], "train=false", "data=folder", "data.image_size=8", "data.workers=0",
        "data.root={folder}/images", "data.cache_dir={folder}/cache", *OUT,
    )),
)  # fmt: skip


def command(tool: str, *settings: str) -> tuple[int, str]:
    """Return exit code and stderr of a command in this process.

    Raises:
        Broken: it does not end.
    """
    with limited():
        code, _, said = tools.run(tool, *settings)
    return code, said


@contextmanager
def limited() -> Iterator[None]:
    """Break the property if a command takes too long."""

    def stop(*_: Any) -> None:
        raise Broken("silent", f"no end after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def forked(work: Callable[[], int]) -> int:
    """Return the exit code of a function in a forked process, or minus the signal that ended it."""
    process = os.fork()
    if process == 0:
        code = 1
        try:
            code = work()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def die_at_write(number: int, write: Callable[[], None] = lambda: None) -> None:
    """Kill this process by SIGKILL before its `number`-th write to a file; call `write` at each.

    A write is a file or folder that is made, opened for writing, renamed, removed or synchronized
    with the disk. Python reports them to audit hooks, whichever library writes.
    """
    left = number

    def count() -> None:
        nonlocal left
        write()
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(event: str, given: tuple[object, ...]) -> None:
        if event == "open" and isinstance(given[2], int):
            is_device = str(given[0]).startswith("/dev/")
            if given[2] & (os.O_WRONLY | os.O_RDWR) and not is_device:
                count()
        elif event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"):
            count()

    real = os.fsync
    os.fsync = lambda descriptor: (count(), real(descriptor))[1]
    sys.addaudithook(audit)


@cache
def _prepared() -> Path:
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    code, said = command("pretrain", *PRETRAIN, "keep_every=2", f"run_dir={folder}/run")
    assert code == 0, said
    for index in range(80):
        place = folder / "images" / "ab"[index % 2] / f"{index}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(8, 8, index)).save(place)
    return folder


def prepared(folder: Path) -> Path:
    """Fill a folder with a finished run and a folder of images, the same each time."""
    shutil.copytree(_prepared(), folder, dirs_exist_ok=True)
    return folder


def in_folder(settings: tuple[str, ...], folder: Path) -> tuple[str, ...]:
    """Return settings with the path of a folder in them."""
    return tuple(text.replace("{folder}", str(folder)) for text in settings)


def contents(folder: Path) -> dict[str, bytes]:
    """Return the results in each file below a folder, by its path.

    For checkpoints, these are the bytes of all tensors; for tables, all columns except the speed.
    Dates of files in the cache of images are omitted.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir() or path.parent.name == "known":
            continue
        if path.suffix == ".pt":
            tensors = floating_tensors(load_checkpoint(path))
            found[name] = b"".join(value.numpy().tobytes() for _, value in tensors)
        elif path.suffix == ".npy":
            found[name] = path.read_bytes()
        elif path.suffix == ".csv":
            rows = [line.split(",") for line in path.read_text().splitlines()]
            names = rows[0] if rows else []
            speed = names.index("images_per_second") if "images_per_second" in names else -1
            kept = [[cell for i, cell in enumerate(row) if i != speed] for row in rows]
            found[name] = "\n".join(map(",".join, kept)).encode()
        else:
            found[name] = b""
    return found
