"""Paired differences between groups of runs, with confidence intervals."""

from collections import Counter
from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

from scipy.special import stdtrit

from ssl_norm.reporting.columns import Column, columns
from ssl_norm.reporting.frame import Group
from ssl_norm.reporting.table import Table, number_cell
from ssl_norm.text import statistic

COMPARED = (
    "negative_cosine", "linear_top1", "knn_top1", "top1", "top1_exact", "top1_batch",
)  # fmt: skip
CONFIDENCE = 0.95


class Difference(NamedTuple):
    """Mean difference of a value from that of the reference group, over common seeds."""

    group: str  # the label of the group
    column: Column  # of the value
    mean: float  # group minus reference
    low: float  # lower end of the 95 % confidence interval of the mean (t distribution)
    high: float  # upper end
    pairs: int  # number of seeds that both groups have exactly once

    @property
    def text(self) -> str:
        """The mean, the interval and the number of pairs."""
        mean, low, high = (f"{n:+.{self.column.decimals}f}" for n in self[2:5])
        return f"{mean} ({low} to {high}; {self.pairs})"


def differences(groups: Sequence[Group]) -> list[Difference]:
    """Return the differences of all groups but the first from the first, where two seeds pair."""
    found = []
    for column in (columns()[name] for name in COMPARED):
        reference, *others = (_by_seed(group, column) for group in groups)
        for group, values in zip(groups[1:], others, strict=True):
            pairs = [values[seed] - reference[seed] for seed in values if seed in reference]
            of_pairs = statistic(pairs)
            if of_pairs.mean is None or of_pairs.deviation is None:
                continue
            t = float(stdtrit(len(pairs) - 1, (1 + CONFIDENCE) / 2))
            half = t * of_pairs.deviation / sqrt(len(pairs))
            mean = of_pairs.mean
            found.append(
                Difference(group.label, column, mean, mean - half, mean + half, len(pairs))
            )
    return found


def _by_seed(group: Group, column: Column) -> dict[int, float]:
    """Return the values of a group by seed, without seeds that occur more than once."""
    counts = Counter(run.seed for run in group.runs)
    values = {run.seed: column.of(run) for run in group.runs if counts[run.seed] == 1}
    return {s: value for s, value in values.items() if s is not None and value is not None}


def difference_table(found: Sequence[Difference]) -> Table:
    """Return a row for each group and a column for each value."""
    shown = {difference.column.name: difference.column.heading for difference in found}
    cells = {(difference.group, difference.column.name): difference.text for difference in found}
    rows = [
        [group, *(cells.get((group, name), "-") for name in shown)]
        for group in dict.fromkeys(difference.group for difference in found)
    ]
    return Table(["group", *shown.values()], rows)


def difference_numbers(found: Sequence[Difference]) -> Table:
    """Return a row for each difference for programs."""
    rows = [
        [item.group, item.column.name, *map(number_cell, item[2:5]), str(item.pairs)]
        for item in found
    ]
    return Table(["group", "value", "mean", "low", "high", "n"], rows)
