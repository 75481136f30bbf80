"""Limit of one thread for each parallel process of the tests, their order, common fixtures."""

import os
import sys

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported
# Many processes import the package: they share its bytecode, also where Python shall write none.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slow files, so that no process has one left while the others are done."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(autouse=True)
def fresh_compiler(request: pytest.FixtureRequest) -> None:
    """Forget what earlier tests compiled: torch runs code that was compiled too often as it is."""
    if "compile" in request.node.nodeid:
        import torch

        torch.compiler.reset()


@pytest.fixture
def no_rendering(monkeypatch: pytest.MonkeyPatch) -> None:
    """Create figures without rendering them."""
    from matplotlib.figure import Figure

    monkeypatch.setattr(Figure, "draw", lambda *_: None)
