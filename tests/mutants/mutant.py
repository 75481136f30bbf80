"""Mutants of the package: a changed text each, with the tests that must fail."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from tests import warm

ROOT = Path(__file__).resolve().parents[2]
LIST = Path(__file__).with_name("mutants.yaml")
COPIED = ("ssl_norm", "tests", "configs", "tools", "examples", "conftest.py", "pyproject.toml")
LONGEST = 600.0  # seconds; tests that take longer count as failed


class Mutant(NamedTuple):
    """A fault, and the tests that must find it.

    Attributes:
        number: place in the list, from 0.
        file: a module, relative to `ssl_norm/`.
        before: text that occurs once in the module.
        after: text in its place.
        tests: functions that have killed it, or files of tests that should, relative to `tests/`.
    """

    number: int
    file: str
    before: str
    after: str
    tests: tuple[str, ...]

    @property
    def was_killed(self) -> bool:
        """Return whether functions of tests are named, which is so after they have killed it."""
        return all("::" in test for test in self.tests)

    def applies(self) -> bool:
        """Return whether the module still has the text once."""
        return (ROOT / "ssl_norm" / self.file).read_text().count(self.before) == 1


def mutants() -> list[Mutant]:
    """Return the list of mutants."""
    listed = yaml.safe_load(LIST.read_text())
    found = [(file, mutant) for file, of_file in listed.items() for mutant in of_file]
    return [
        Mutant(number, file, each["before"], each["after"], tuple(each["tests"].split()))
        for number, (file, each) in enumerate(found)
    ]


def verdict(mutant: Mutant) -> tuple[str, str]:
    """Return `killed` and the test that fails on the mutant only, or `survived`.

    Other verdicts are that the test fails without a fault as well, or that the tests did not run.
    """
    if not mutant.applies():
        return "no longer applies", ""
    with tempfile.TemporaryDirectory() as folder:
        module = _copy(Path(folder)) / mutant.file
        module.write_text(module.read_text().replace(mutant.before, mutant.after))
        try:
            code, output = _test(Path(folder), mutant.tests)
        except subprocess.TimeoutExpired:
            return "killed", f"it hangs for {LONGEST:.0f} s"
    if failed := re.search(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE):
        test = failed[1].removeprefix("tests/").partition("[")[0]
        return "killed" if passes_unchanged(test) else "fails unchanged", failed[1]
    return "did not run" if code else "survived", output[-2000:]


@cache
def passes_unchanged(test: str) -> bool:
    """Return whether a test passes on a copy without a fault."""
    with tempfile.TemporaryDirectory() as folder:
        _copy(Path(folder))
        return _test(Path(folder), [test])[0] == pytest.ExitCode.OK


def _copy(folder: Path) -> Path:
    """Copy what tests read, compiled modules included; return the folder of the package."""
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, folder / name)
    return folder / "ssl_norm"


def _test(root: Path, tests: Iterable[str]) -> tuple[int, str]:
    """Return pytest's exit code and output; it stops at the first failure."""
    options = ["-x", "-q", "-o", "addopts=--import-mode=importlib", "-p", "no:cacheprovider"]
    options += ["--tb=line", "-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of the server's
    command = ["-m", "pytest", *options, *(f"tests/{test}" for test in tests)]
    alone = {"PYTHONPATH": str(root), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    process = warm.Process(command, cwd=root, env={**os.environ, **alone})
    try:
        return process.wait(LONGEST), "".join(process.communicate())
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
