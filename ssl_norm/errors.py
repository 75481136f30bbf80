"""Exceptions that end a run, with exit codes."""

import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ssl_norm.text import printable


class UserError(ValueError):
    """Wrong input; the message is one line with the value, the expected values and a repair."""

    exit_code = 2


class CollapseStop(Exception):
    """The representation collapsed while `monitor.on_collapse` was `stop` or `rollback`.

    Attributes:
        found: `steps`, `verdict`, `collapsed_at_step` and `evidence` of summary.json, and after a
            rollback `rolled_back_to_step`, the step of the healthy checkpoint.
    """

    exit_code = 3

    def __init__(self, message: str, found: Mapping[str, Any] = MappingProxyType({})) -> None:
        super().__init__(message)
        self.found = dict(found)

    def state(self) -> dict[str, Any]:
        """Return the arguments as plain values for a checkpoint."""
        return {"message": str(self), "found": self.found}


class NonFiniteLoss(Exception):
    """A loss, weight or other tensor became NaN or infinite; the last good checkpoint was kept."""

    exit_code = 4


class FailedChecks(Exception):
    """Checks of a training loop found bugs, which the printed table names."""

    exit_code = 5


def print_error(message: object) -> None:
    """Print one line on stderr."""
    print(f"error: {printable(str(message))}", file=sys.stderr)
