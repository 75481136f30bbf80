"""A disk that is full at any moment costs one line and exit code 2, and old files are unchanged.

Every trial runs a tool whose files cannot grow beyond a random size, as on a full disk. Earlier
files must still be whole, no unfinished file may be left, and a run must continue when there is
space again.
"""

from pathlib import Path

from tests.campaigns.campaign import Broken, Chance
from tests.campaigns.commands import FINETUNE, OTHERS, OUT, PRETRAIN, command, in_folder, prepared
from tests.disk import full_disk

TRIALS, SAMPLE = 50, 1
COMMANDS = (
    ("pretrain", (*PRETRAIN, "keep_every=1", *OUT)),
    ("pretrain", (*PRETRAIN, "loggers=[tensorboard]", *OUT)),
    ("finetune", (*FINETUNE, "evaluation.every=3", *OUT)),
    *OTHERS,
)


def trial(chance: Chance, folder: Path) -> None:
    """Run a tool on a full disk, then continue with space."""
    tool, settings = chance.choice(COMMANDS)
    size = int(10 ** chance.uniform(0, 6.5))
    chance.what = f"{tool} {' '.join(settings)}, files up to {size} bytes"
    given = in_folder(settings, prepared(folder))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with full_disk(size):
        code, said = command(tool, *given)
    if "Traceback" in said:
        raise Broken("traceback", said[-500:])
    if code not in (0, 2) or (code == 2 and "File too large" not in said.splitlines()[-1]):
        raise Broken("silent", f"exit code {code}: {said[-300:]}")
    if left := [path.name for path in folder.rglob(".partial*")]:
        raise Broken("lost", f"{left[0]} was left")
    if changed := [path.name for path in before if path.read_bytes() != before[path]]:
        raise Broken("lost", f"{changed[0]} is not what it was")
    code, said = command(tool, *given)
    if code:
        raise Broken("lost", f"with room again exit code {code}: {said[-300:]}")
