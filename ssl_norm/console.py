"""Messages, tables and progress bars; all text for a terminal passes through here."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from ssl_norm.text import first_line, printable

Item = TypeVar("Item")


class Terminal(Console):
    """Console that prints strings without markup, and escapes control characters.

    Colours are given by `rich.text.Text`; `coloured` makes one from escaped parts.
    """

    def __init__(self, *, stderr: bool = True, quiet: bool = False) -> None:
        super().__init__(stderr=stderr, quiet=quiet, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return the string of a message, a cell or a title as plain text of one line."""
        return super().render_str(printable(text), **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print, but ignore failures, such as a full disk, so that they do not end a run."""
        with suppress(OSError):
            super().print(*objects, **options)

    def on_broken_pipe(self) -> None:
        """Print nothing more after a reader such as `head` has closed the pipe."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


def coloured(*parts: str | tuple[str, str]) -> Text:
    """Return text of plain parts and of parts with a style, `("healthy", "green")`."""
    styled = (part if isinstance(part, tuple) else (part, "") for part in parts)
    return Text.assemble(*((printable(text), style) for text, style in styled))


def say(*lines: str | Text, stderr: bool = True) -> None:
    """Print lines to stderr or to stdout, without wrapping them."""
    show(lines, stderr=stderr, soft_wrap=True)


def show(parts: Sequence[RenderableType], *, stderr: bool = False, soft_wrap: bool = False) -> None:
    """Print tables and lines, to stdout or to stderr."""
    terminal = Terminal(stderr=stderr)
    for part in parts:
        terminal.print(part, soft_wrap=soft_wrap)


@contextmanager
def warned(what: str) -> Iterator[None]:
    """Print one line if work fails that a run does not need, such as a figure or a logger."""
    try:
        yield
    except Exception as error:
        say(f"warning: {what} failed and is omitted: {type(error).__name__}: {first_line(error)}")


def track(
    items: Iterable[Item], description: str, *, total: int, step: int, enabled: bool
) -> Iterator[Item]:
    """Yield `items` while a progress bar, which disappears at the end, counts `step` for each."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Terminal()
    with Progress(
        *columns, console=console, transient=True, disable=not (enabled and console.is_terminal)
    ) as progress:
        task = progress.add_task(printable(description), total=total)
        for done, item in enumerate(items, start=1):
            progress.update(task, completed=min(done * step, total))
            yield item
