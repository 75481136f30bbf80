"""Exit codes of commands that take plain arguments."""

import os
import sys
from collections.abc import Callable, Sequence

from ssl_norm.errors import UserError, print_error


def exit_code_of(command: Callable[[Sequence[str]], int | None], arguments: Sequence[str]) -> int:
    """Run a command and return its exit code.

    It is 2, with one line on stderr, if the command raises UserError, and 0 if a reader such as
    `head` closes the pipe of its output.
    """
    try:
        code = command(arguments) or 0
        sys.stdout.flush()
    except UserError as error:
        print_error(error)
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return 0
    return code


def wants_help(arguments: Sequence[str], *, alone: bool = False) -> bool:
    """Return whether the arguments of a command ask for its help."""
    others = [argument for argument in arguments if argument not in ("-h", "--help")]
    if alone and others:
        raise UserError(f"no arguments expected, got {' '.join(others)}")
    return len(others) < len(arguments)
