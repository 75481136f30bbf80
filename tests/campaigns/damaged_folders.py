"""A damaged file of a run folder never costs more than one line.

After random damage of one file, `resume`, `report` and `linear_eval` end with exit code 0 and the
results of the undamaged folder, or name the damage in one line. There is no traceback, no hang, and
no different result without a message.
"""

import contextlib
import csv
import functools
import io
import json
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from ssl_norm.cli import entry
from tests.campaigns.campaign import Broken

TRIALS, SAMPLE = 50, 1
SECONDS = 120  # of one command; more is a hang
SMALL = (
    "encoder.name=tiny16", "data.image_size=16", "data.limit=64", "batch_size=32", "epochs=2",
    "monitor.log_every=1", "monitor.layers_every=2", "monitor.spectral_every=2", "device=cpu",
    "keep_every=1", "linear_probe=false", "loggers=[]",
)  # fmt: skip
HOSTILE = (
    b"a: &a [1, 1]\nb: &b [*a, *a, *a]\nc: [*b, *b, *b]\n", b"x: &x\n  y: *x\n", b"[]\n", b"- 1\n",
    b"!!python/object/apply:os.system ['true']\n", b"a: " + b"[" * 10**4, b"{1: 2}\n", b"3\n",
    b"\n".join(b"k%d: &k%d [%s]" % (i, i, b", ".join([b"*k%d" % (i - 1)] * 9 * (i > 0)))
               for i in range(30)),
    b'{"steps": {}}', b"[" * 10**5, b"step,loss\n1\n", b"step\n", b"\x00" * 300, b"null\n",
)  # fmt: skip


def run(tool: str, *settings: str) -> tuple[int, str]:
    """Return exit code and stderr of a command in this process.

    Raises:
        Broken: it does not end, or ends in another exception.
    """

    def hang(*_: object) -> None:
        raise TimeoutError

    said, before = io.StringIO(), signal.signal(signal.SIGALRM, hang)
    signal.alarm(SECONDS)
    arguments, sys.argv = sys.argv, [f"{tool}.py", *settings]
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            entry.main(tool)
    except SystemExit as ending:
        return int(ending.code or 0), said.getvalue()
    except BaseException as error:
        raise Broken("traceback", f"{tool} {settings}: {type(error).__name__}: {error}") from error
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        sys.argv = arguments
    raise AssertionError("a tool ends with an exit code")


@functools.cache
def originals() -> Path:
    """Return a folder with two finished runs, of seeds 0 and 1, and their linear evaluations."""
    root = Path(tempfile.mkdtemp()) / "runs"
    for seed in (0, 1):
        assert run("pretrain", *SMALL, f"seed={seed}", f"run_dir={root / str(seed)}")[0] == 0
        assert evaluate(root / str(seed))[0] == 0
    return root


def evaluate(folder: Path) -> tuple[int, str]:
    """Evaluate last.pt of a run, and return exit code and stderr."""
    return run("linear_eval", f"checkpoint={folder}", "random_init=false", "device=cpu")


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


def trial(chance: random.Random, folder: Path) -> None:
    """Damage one file of a run, then resume, report and evaluate."""
    root = folder / "runs"
    shutil.copytree(originals(), root)
    files = sorted(path for path in (root / "0").iterdir() if path.suffix != ".png" and
                   path.stat().st_size)  # fmt: skip
    what = damage(chance, chance.choice(files))
    commands = [
        ("report", lambda: run("report", f"runs={root}", "figures=cosines"), None),
        ("linear_eval", lambda: evaluate(root / "0"), "linear_eval.json"),
        (
            "resume",
            lambda: run("pretrain", f"run_dir={root / '0'}", "resume=true"),
            "summary.json",
        ),
    ]
    for name, command, result in commands:
        code, said = command()
        told = f"{what}: {name} ended with {code} and said: {said.strip()[-300:]}"
        errors = [line for line in said.splitlines() if line.startswith("error: ")]
        if "Traceback" in said or code not in (0, 2) or (code == 2) != (len(errors) == 1):
            raise Broken("traceback", told)
        if name == "report":
            if code:
                raise Broken("lost", told)
            found = numbers(root / "report" / "runs.csv")
            if not found.items() <= expected_report().items():
                raise Broken("different", told)
            if len(found) < 2 and "left out: 0 is " not in said:
                raise Broken("silent", told)
        elif code or "warning: " in said:
            continue
        elif numbers(root / "0" / result) != numbers(originals() / "0" / result):
            raise Broken("different", told)


@functools.cache
def expected_report() -> dict[str, str]:
    """Return the cell of each run in the report of the undamaged folder."""
    output = originals().parent / "report"
    assert run("report", f"runs={originals()}", "figures=cosines", f"output={output}")[0] == 0
    return numbers(output / "runs.csv")
