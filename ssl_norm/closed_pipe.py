"""Exit code of commands whose output pipe closes early, as with `| head`."""

import os
import sys
from collections.abc import Callable, Sequence


def unless_pipe_closes(
    command: Callable[[Sequence[str]], int | None], arguments: Sequence[str]
) -> int:
    """Return the exit code of a command, or 0 if the reader closed the pipe of its output."""
    try:
        code = command(arguments) or 0
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return 0
    return code
