"""What can end a run on purpose, and the exit code that each ending has."""


class UserError(ValueError):
    """The user's input is wrong: one line saying what was found, what is known and how to mend it."""

    exit_code = 2


class CollapseStop(Exception):
    """The representation collapsed while `monitor.on_collapse=stop`."""

    exit_code = 3


class NonFiniteLoss(Exception):
    """The loss became NaN or infinite; the last good checkpoint was kept."""

    exit_code = 4
