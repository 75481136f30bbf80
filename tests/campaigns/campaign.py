"""Random trials of one property, seeded and counted."""

import importlib
import pkgutil
import random
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import tests.campaigns

KINDS = ("lost", "different", "traceback", "silent")


class Broken(Exception):
    """The property did not hold in a trial.

    Args:
        kind: one of `KINDS`: something was lost, a result differed, there was a traceback, or a
            fault was not reported.
        text: description of the failure.
    """

    def __init__(self, kind: str, text: str) -> None:
        assert kind in KINDS, kind
        super().__init__(text)
        self.kind = kind


class Chance(random.Random):
    """Random numbers of one trial.

    Attributes:
        number: number of the trial, by which trials take cases in turn.
        what: description of the trial for the message on its failure.
    """

    number = 0
    what = ""


class Result(NamedTuple):
    """A trial: its number, the kind of failure (None if the property held), and its text."""

    number: int
    kind: str | None
    text: str


def campaigns() -> dict[str, ModuleType]:
    """Return the modules of this package with a `trial`, by name.

    Each has a docstring that names the property, `trial(chance: Chance, folder: Path)`,
    which raises :class:`Broken`, and `TRIALS` and `SAMPLE`: the lengths of the campaign and of its
    short form in the tests.
    """
    names = [module.name for module in pkgutil.iter_modules(tests.campaigns.__path__)]
    modules = {
        name: importlib.import_module(f"tests.campaigns.{name}")
        for name in names
        if not name.startswith(("test_", "_", "campaign"))
    }
    return {name: module for name, module in modules.items() if hasattr(module, "trial")}


def run(module: ModuleType, trials: int, *, seed: int = 0, first: int = 0) -> Iterator[Result]:
    """Yield the results of trials; trial n of a seed is the same, whatever ran before it."""
    for number in range(first, first + trials):
        chance = Chance(f"{seed} {number}")
        chance.number = number
        with tempfile.TemporaryDirectory() as folder:
            try:
                module.trial(chance, Path(folder))
            except Broken as broken:
                yield Result(number, broken.kind, f"{chance.what}: {broken}")
            except Exception:
                yield Result(number, "traceback", f"{chance.what}: {traceback.format_exc()}")
            else:
                yield Result(number, None, "")


def report(name: str, module: ModuleType, trials: int, seed: int, first: int = 0) -> int:
    """Run and print a campaign; return the number of trials that broke the property."""
    start, kinds = time.monotonic(), Counter[str | None]()
    for result in run(module, trials, seed=seed, first=first):
        kinds[result.kind] += 1
        if result.kind:
            print(f"{name} trial {result.number}: {result.kind}: {result.text}", flush=True)
    counts = "  ".join(f"{kind} {kinds[kind]}" for kind in KINDS)
    minutes = (time.monotonic() - start) / 60
    print(f"{name:<16} trials {trials}  {counts}  seed {seed}  {minutes:.1f} min", flush=True)
    return trials - kinds[None]
