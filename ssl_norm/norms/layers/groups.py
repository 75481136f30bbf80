"""Number of groups of the channels of a norm; needs no torch."""

from typing import Annotated

from annotated_types import Interval

Groups = Annotated[int, Interval(ge=1, le=10**6)] | None

MOST_GROUPS = 32  # default number of groups, from the paper


def default_groups(num_features: int) -> int:
    """Return the largest divisor of the channels that is at most `MOST_GROUPS`."""
    return max(count for count in range(1, MOST_GROUPS + 1) if num_features % count == 0)


def fewest_groups(num_features: int, most_channels: int) -> int:
    """Return the smallest number of groups with at most `most_channels` channels each."""
    most = min(most_channels, num_features)
    return num_features // max(size for size in range(1, most + 1) if num_features % size == 0)


def check_groups(num_features: int, groups: int) -> None:
    """Raise ValueError, naming the nearest divisors, unless `groups` divides the channels."""
    if isinstance(groups, int) and groups > 0 and num_features % groups == 0:
        return
    divisors = [count for count in range(1, num_features + 1) if num_features % count == 0]
    message = f"groups must divide num_features={num_features}, got groups={groups}"
    if isinstance(groups, int):
        nearest = sorted(sorted(divisors, key=lambda count: abs(count - groups))[:2])
        message += f"; the nearest divisors are {' and '.join(map(str, nearest))}"
    raise ValueError(message)
