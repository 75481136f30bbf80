"""Names in ARCHITECTURE.md."""

import re
from functools import reduce
from importlib import import_module
from pathlib import Path

TEXT = (Path(__file__).resolve().parents[1] / "ARCHITECTURE.md").read_text()


def test_named_functions_exist():
    named = set(re.findall(r"\b([a-z_.]+):(\w+(?:\.\w+)*)", TEXT))
    assert len(named) > 25
    for module, function in named:
        assert reduce(getattr, function.split("."), import_module(f"ssl_norm.{module}"))


def test_one_page():
    assert len(TEXT.splitlines()) <= 80
