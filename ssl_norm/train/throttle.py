"""How often a picture of a growing record is drawn again."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Pace:
    """Says when a picture is due, so that a run neither waits for it nor fills its files with it.

    It is due when the record has grown by a tenth since it was last drawn, and drawing has taken no more than its
    share of the time; the first time at once.

    Args:
        share: of the time since this object was made that drawing may take, in [0, 1].
        clock: returns seconds.

    Attributes:
        drawn: length of the record when it was last drawn; 0 before.
    """

    def __init__(self, share: float = 0.01, clock: Callable[[], float] = time.perf_counter) -> None:
        self._share = share
        self._clock = clock
        self._start = clock()
        self._spent = 0.0
        self.drawn = 0

    def is_due(self, length: int) -> bool:
        """Whether to draw a record of so many entries now."""
        has_grown = length >= max(self.drawn + 1, 1.1 * self.drawn)
        return has_grown and self._spent <= self._share * (self._clock() - self._start)

    @contextmanager
    def drawing(self, length: int) -> Iterator[None]:
        """Count the time that drawing a record of so many entries takes."""
        begin = self._clock()
        yield
        self._spent += self._clock() - begin
        self.drawn = length
