"""Intervals of numbers for settings; standard library only."""

import math
from dataclasses import dataclass
from numbers import Integral, Real


@dataclass(frozen=True)
class Interval:
    """Numbers between two bounds; no interval contains NaN, infinities or booleans.

    Attributes:
        low: the lower bound.
        high: the upper bound.
        ends: closed or open ends: `[]`, `[)`, `(]` or `()`.
        whole: restriction to integers.

    Example:
        >>> 1.0 in Interval(0, 1, "[)")
        False
        >>> str(Interval(1, whole=True))
        'an integer of at least 1'
    """

    low: float
    high: float = math.inf
    ends: str = "[)"
    whole: bool = False

    def __contains__(self, value: object) -> bool:
        kind = Integral if self.whole else Real
        if not isinstance(value, kind) or isinstance(value, bool):
            return False
        above = value >= self.low if self.ends[0] == "[" else value > self.low  # type: ignore[operator]
        below = value <= self.high if self.ends[1] == "]" else value < self.high
        return bool(above and below)

    def __str__(self) -> str:
        number = "an integer" if self.whole else "a number"
        if self.high == math.inf:
            return f"{number} {'of at least' if self.ends[0] == '[' else 'above'} {self.low}"
        return f"{number} in {self.ends[0]}{self.low}, {self.high}{self.ends[1]}"
