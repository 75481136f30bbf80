"""Exceptions that end a run, with exit codes."""

import sys

from ssl_norm.text import printable


class UserError(ValueError):
    """Wrong input of the user; the message is one line: found, expected, repair."""

    exit_code = 2


class CollapseStop(Exception):
    """The representation collapsed while `monitor.on_collapse` was `stop` or `rollback`.

    Attributes:
        rolled_back_to: step of the healthy checkpoint that replaced the collapsed one, or None.
    """

    exit_code = 3

    def __init__(self, message: str, rolled_back_to: int | None = None) -> None:
        super().__init__(message)
        self.rolled_back_to = rolled_back_to


class NonFiniteLoss(Exception):
    """The loss became NaN or infinite; the last good checkpoint was kept."""

    exit_code = 4


def print_error(message: object) -> None:
    """Print one line on stderr."""
    print(f"error: {printable(str(message))}", file=sys.stderr)
