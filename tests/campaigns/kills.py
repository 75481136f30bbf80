"""After a kill at any write or moment, a resume ends in the same files, to the bit.

Every trial kills a tool once or twice, before one of its writes or at a random moment, runs it
again (training is resumed), and compares tensors, tables and names of files with those of a run
that was not killed.
"""

import os
import random
import signal
import tempfile
import threading
import time
from functools import cache
from pathlib import Path

from tests.campaigns.campaign import Broken, Chance
from tests.campaigns.commands import (
    FINETUNE,
    OTHERS,
    OUT,
    PRETRAIN,
    command,
    contents,
    die_at_write,
    forked,
    in_folder,
    prepared,
)

TRIALS, SAMPLE = 200, 1
COLLAPSING = ("monitor.on_collapse=rollback", "monitor.patience=1", "monitor.log_every=1")
AT_ONCE = (*COLLAPSING, "monitor.complete_cosine=-0.9", "monitor.healthy_cosine=-0.95")
TRAININGS = (
    ("pretrain", (*PRETRAIN, "keep_every=1", "linear_probe=true")),
    ("pretrain", (*PRETRAIN, *COLLAPSING, "monitor.healthy_std=0.1", "keep_every=2")),
    ("pretrain", (*PRETRAIN, *AT_ONCE)),
    ("pretrain", (*PRETRAIN, "norm.encoder={name: bn, population: exact}")),
    ("pretrain", (*PRETRAIN, "train=false")),
    ("finetune", FINETUNE),
    ("finetune", (*FINETUNE, "evaluation.every=2", "norm.encoder={name: bn, population: exact}")),
)
COMMANDS = (*((tool, (*settings, *OUT)) for tool, settings in TRAININGS), *OTHERS)


def trial(chance: Chance, folder: Path) -> None:
    """Kill a run once or twice, resume it, and compare its folder."""
    tool, settings = chance.choice(COMMANDS)
    code, expected, writes, seconds = _undisturbed(tool, settings)
    given = in_folder(settings, prepared(folder))
    killed = [_killed(chance, tool, given, writes, seconds) for _ in range(chance.randint(1, 2))]
    chance.what = f"{tool} {' '.join(settings)}, killed {' and '.join(killed)}"
    with tempfile.NamedTemporaryFile() as said:
        found_code = forked(lambda: _told(Path(said.name), command(tool, *given)))
        text = Path(said.name).read_text()
    if found_code != code:
        kind = "traceback" if "Traceback" in text else "lost"
        raise Broken(kind, f"exit code {found_code}, not {code}: {text[-400:]}")
    found = contents(folder)
    different = [name for name in expected if found.get(name) != expected[name]]
    different += [f"{name} (left over)" for name in found if name not in expected]
    if different:
        raise Broken("different", ", ".join(different))


def _killed(
    chance: random.Random, tool: str, given: tuple[str, ...], writes: int, seconds: float
) -> str:
    """Run a command that is killed, and return where."""
    if chance.random() < 0.75:
        number = chance.randint(1, writes)
        forked(lambda: die_at_write(number) or command(tool, *given)[0])
        return f"at write {number} of {writes}"
    moment = chance.uniform(0, seconds)
    forked(lambda: _die_after(moment) or command(tool, *given)[0])
    return f"after {moment:.2f} s"


@cache
def _undisturbed(tool: str, settings: tuple[str, ...]) -> tuple[int, dict[str, bytes], int, float]:
    """Return exit code, files, number of writes and seconds of a run that nobody kills."""
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryFile(buffering=0) as log:
        folder, start = prepared(Path(name)), time.monotonic()
        given = in_folder(settings, folder)
        code = forked(lambda: die_at_write(-1, lambda: log.write(b".")) or command(tool, *given)[0])
        seconds = time.monotonic() - start
        return code, contents(folder), os.fstat(log.fileno()).st_size, seconds


def _die_after(seconds: float) -> None:
    killer = threading.Timer(seconds, lambda: os.kill(os.getpid(), signal.SIGKILL))
    killer.daemon = True
    killer.start()


def _told(path: Path, result: tuple[int, str]) -> int:
    path.write_text(result[1])
    return result[0]
