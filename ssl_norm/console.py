"""Progress bars and messages on stderr."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Item = TypeVar("Item")


def track(
    items: Iterable[Item], description: str, *, total: int, step: int, enabled: bool
) -> Iterator[Item]:
    """Yield `items` while a bar counts `step` of `total` for each, and vanishes at the end."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not (enabled and console.is_terminal)
    ) as progress:
        task = progress.add_task(description, total=total)
        for done, item in enumerate(items, start=1):
            progress.update(task, completed=min(done * step, total))
            yield item


def say(message: str, *, stderr: bool = True) -> None:
    """Print one line as it is, to stderr or to stdout."""
    Console(stderr=stderr).print(message, markup=False, highlight=False, soft_wrap=True)
