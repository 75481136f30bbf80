"""A damaged file of a run folder never costs more than one line.

After random damage of one file, `resume`, `report` and `linear_eval` end with exit code 0 and the
results of the undamaged folder, or name the damage in one line. There is no traceback, no hang, and
no different result without a message.
"""

import csv
import json
import random
import shutil
import tempfile
from functools import cache
from pathlib import Path

from tests.campaigns.campaign import Broken, Chance
from tests.campaigns.commands import PRETRAIN, command, prepared

TRIALS, SAMPLE = 50, 1
HOSTILE = (
    b"a: &a [1, 1]\nb: &b [*a, *a, *a]\nc: [*b, *b, *b]\n", b"x: &x\n  y: *x\n", b"[]\n", b"- 1\n",
    b"!!python/object/apply:os.system ['true']\n", b"a: " + b"[" * 10**4, b"{1: 2}\n", b"3\n",
    b"\n".join(b"k%d: &k%d [%s]" % (i, i, b", ".join([b"*k%d" % (i - 1)] * 9 * (i > 0)))
               for i in range(30)),
    b'{"steps": {}}', b"[" * 10**5, b"step,loss\n1\n", b"step\n", b"\x00" * 300, b"null\n",
)  # fmt: skip


@cache
def originals() -> Path:
    """Return a folder with two finished runs, of seeds 0 and 1, and an evaluation of the first."""
    folder = prepared(Path(tempfile.mkdtemp()))
    root = folder / "runs"
    shutil.copytree(folder / "run", root / "0")
    assert command("pretrain", *PRETRAIN, "seed=1", f"run_dir={root / '1'}")[0] == 0
    assert evaluate(root / "0")[0] == 0
    return root


def evaluate(folder: Path) -> tuple[int, str]:
    """Evaluate last.pt of a run, and return exit code and stderr."""
    return command("linear_eval", f"checkpoint={folder}", "random_init=false", "device=cpu")


def draw_report(root: Path, output: Path) -> tuple[int, str]:
    return command("report", f"runs={root}", "figures=cosines", f"output={output}")


@cache
def expected_report() -> object:
    """Return the cell of each run in the report of the undamaged folder."""
    output = originals().parent / "report"
    assert draw_report(originals(), output)[0] == 0
    return numbers(output / "runs.csv")


def damage(chance: random.Random, path: Path) -> str:
    """Damage a file, and return how."""
    kind = chance.choice(("flip", "truncate", "empty", "delete", "folder", "hostile", "encoding"))
    content = bytearray(path.read_bytes())
    if kind == "flip":
        for _ in range(chance.randint(1, 3)):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    elif kind == "truncate":
        content = content[: chance.randrange(len(content))]
    elif kind == "empty":
        content.clear()
    elif kind == "hostile":
        content = bytearray(chance.choice(HOSTILE))
    elif kind == "encoding":
        content = bytearray(content.decode("latin-1").encode(chance.choice(("utf-16", "utf-32"))))
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind != "delete":
        path.write_bytes(content)
    return f"{path.name}, {kind}"


def numbers(path: Path) -> object:
    """Return the results in a JSON or CSV file, without times, places and checksums."""
    if path.suffix == ".csv":
        return {
            row["run"]: row["negative_cosine"]
            for row in csv.DictReader(path.read_text().splitlines())
        }
    content = json.loads(path.read_text())
    others = ("images_per_second", "environment", "checkpoint", "crc32", "tables")
    return {key: value for key, value in content.items() if key not in others}


def trial(chance: Chance, folder: Path) -> None:
    """Damage one file of a run, then resume, report and evaluate."""
    root, run = folder / "runs", folder / "runs" / "0"
    shutil.copytree(originals(), root)
    files = sorted(path for path in run.iterdir() if path.suffix != ".png" and path.stat().st_size)
    chance.what = damage(chance, chance.choice(files))
    commands = {
        "runs.csv": lambda: draw_report(root, root / "report"),
        "linear_eval.json": lambda: evaluate(run),
        "summary.json": lambda: command("pretrain", f"run_dir={run}", "resume=true"),
    }
    for result, do in commands.items():
        code, said = do()
        told = f"{result}: ended with {code} and said: {said.strip()[-300:]}"
        errors = [line for line in said.splitlines() if line.startswith("error: ")]
        if "Traceback" in said or code not in (0, 2) or (code == 2) != (len(errors) == 1):
            raise Broken("traceback", told)
        if result == "runs.csv":
            if code:
                raise Broken("lost", told)
            found = numbers(root / "report" / result)
            if not found.items() <= expected_report().items():
                raise Broken("different", told)
            if len(found) < 2 and "left out: 0 is " not in said:
                raise Broken("silent", told)
        elif code or "warning: " in said:
            continue
        elif numbers(run / result) != numbers(originals() / "0" / result):
            raise Broken("different", told)
