"""Commands whose output is read in part only, as by `| head`."""

import os
import sys
from collections.abc import Callable, Sequence


def unless_pipe_closes(command: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    """Return the exit code of a command; 0, without a traceback, where the reader of its output has had enough."""
    try:
        code = command(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return 0
    return code
