"""Commands of the package in this process.

They leave out work whose result nobody looks at: canvases of digits are drawn once per seed and
size, and figures are created but not rendered.
"""

import contextlib
import io
import runpy
import sys
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np
from matplotlib.figure import Figure

from ssl_norm.data.sources import digits

TOOLS = Path(__file__).resolve().parents[1] / "tools"
_draw = digits.draw
_DRAWN: dict[tuple[int, str], tuple[np.ndarray, dict[str, object]]] = {}


class Ended(NamedTuple):
    """A command that has ended: its exit code, stdout and stderr."""

    code: int
    out: str
    err: str


def run(tool: str, *settings: object) -> Ended:
    """Run a command, as `tools/<tool>.py` does."""
    streams = [
        io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace", write_through=True)
        for _ in range(2)
    ]
    code = 0
    with (
        mock.patch.object(digits, "draw", _draw_once),
        mock.patch.object(Figure, "draw"),
        mock.patch.object(sys, "argv", [f"tools/{tool}.py", *map(str, settings)]),
        contextlib.redirect_stdout(streams[0]),
        contextlib.redirect_stderr(streams[1]),
    ):
        try:
            runpy.run_path(str(TOOLS / f"{tool}.py"), run_name="__main__")
        except SystemExit as ending:
            code = int(ending.code or 0)
    for stream in streams:
        stream.seek(0)
    return Ended(code, *(stream.read() for stream in streams))


def _draw_once(scans: np.ndarray, size: int, random: np.random.Generator) -> np.ndarray:
    key = size, f"{len(scans)} {random.bit_generator.state}"
    if key not in _DRAWN:
        _DRAWN[key] = _draw(scans, size, random), random.bit_generator.state
    canvases, random.bit_generator.state = _DRAWN[key]
    return canvases.copy()
