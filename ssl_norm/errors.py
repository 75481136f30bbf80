"""What can end a run on purpose, and the exit code that each ending has."""


class UserError(ValueError):
    """The user's input is wrong: one line saying what was found, what is known and how to mend it."""

    exit_code = 2


class CollapseStop(Exception):
    """The representation collapsed while `monitor.on_collapse` was `stop` or `rollback`.

    Attributes:
        rolled_back_to: step of the healthy checkpoint that took the place of the collapsed one; None without one.
    """

    exit_code = 3

    def __init__(self, message: str, rolled_back_to: int | None = None) -> None:
        super().__init__(message)
        self.rolled_back_to = rolled_back_to


class NonFiniteLoss(Exception):
    """The loss became NaN or infinite; the last good checkpoint was kept."""

    exit_code = 4
