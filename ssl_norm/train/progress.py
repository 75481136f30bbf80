"""Progress of a run: one live line on a terminal, a line every few seconds in a log file."""

import time
from collections.abc import Callable

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ssl_norm.console import Terminal
from ssl_norm.train.run_folder import Row

SECONDS_BETWEEN_LINES = 10.0


class ProgressLine:
    """Progress line with step, `text` of a row of metrics, and time left; only on rank zero."""

    def __init__(
        self,
        first_step: int,
        steps: int,
        *,
        text: Callable[[Row], str],
        visible: bool = True,
    ) -> None:
        self._text = text
        self.console = Terminal(quiet=not visible)
        self._steps = steps
        self._first = first_step
        self._started = self._printed = time.monotonic()
        self._bar = Progress(
            TextColumn("step {task.completed}/{task.total}", markup=False),
            BarColumn(bar_width=10),
            TextColumn("{task.description}", markup=False),
            TimeRemainingColumn(compact=True),
            console=self.console,
            disable=not self.console.is_terminal or not visible,
        )
        self._task = self._bar.add_task("warming up", total=steps, completed=first_step)

    def __enter__(self) -> "ProgressLine":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, row: Row) -> None:
        """Update the line with a row of metrics."""
        step = int(row["step"])
        text = self._text(row)
        self._bar.update(self._task, completed=step, description=text)
        now = time.monotonic()
        if self._bar.disable and (
            now - self._printed >= SECONDS_BETWEEN_LINES or step == self._steps
        ):
            self._printed = now
            left = (now - self._started) / max(1, step - self._first) * (self._steps - step)
            self.console.print(
                f"step {step}/{self._steps}  {text}  {left:.0f} s left", soft_wrap=True
            )
