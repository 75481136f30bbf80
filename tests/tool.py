"""Commands of the package in this process."""

import contextlib
import io
import sys
from typing import NamedTuple
from unittest import mock

from hydra.core.global_hydra import GlobalHydra

from ssl_norm.cli import entry


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
    GlobalHydra.instance().clear()
    with (
        mock.patch.object(sys, "argv", [f"tools/{tool}.py", *map(str, settings)]),
        contextlib.redirect_stdout(streams[0]),
        contextlib.redirect_stderr(streams[1]),
    ):
        try:
            entry.main(tool)
        except SystemExit as ending:
            code = int(ending.code or 0)
    for stream in streams:
        stream.seek(0)
    return Ended(code, *(stream.read() for stream in streams))
