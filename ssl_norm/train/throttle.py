"""Throttle of the redrawing of figures."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Pace:
    """Decides when a picture of a growing record is drawn again.

    The first is due at once, the next ones when the record has grown by a tenth and drawing has
    taken at most its share of the time.

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
        """Return whether to draw a record of this length."""
        has_grown = length >= max(self.drawn + 1, 1.1 * self.drawn)
        return has_grown and self._spent <= self._share * (self._clock() - self._start)

    @contextmanager
    def drawing(self, length: int) -> Iterator[None]:
        """Measure the time of drawing a record of this length."""
        begin = self._clock()
        yield
        self._spent += self._clock() - begin
        self.drawn = length
