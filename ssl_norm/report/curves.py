"""Curves of several runs on the steps that all of them logged."""

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import NamedTuple


class Curve(NamedTuple):
    """Values of one run over its logged steps."""

    steps: Sequence[float]
    values: Sequence[float]


class Band(NamedTuple):
    """Mean and range of several curves, at the steps that all of them have."""

    steps: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]


def band(curves: Sequence[Curve]) -> Band | None:
    """Return the mean of curves and the band around it; None for fewer than two curves, or than two common steps.

    Nothing is interpolated: a step counts only where every curve has a finite value at it. The band is mean +- sample
    deviation (n - 1) for three curves or more, from the lower to the higher one for two.

    Example:
        >>> band([Curve([10, 20, 30], [1, 2, 3]), Curve([10, 30], [3, 5])])
        Band(steps=[10, 30], mean=[2.0, 4.0], low=[1, 3], high=[3, 5])
    """
    tables = [
        {
            step: value
            for step, value in zip(curve.steps, curve.values, strict=True)
            if math.isfinite(value)
        }
        for curve in curves
    ]
    if len(tables) < 2:
        return None
    steps = sorted(set(tables[0]).intersection(*tables[1:]))
    if len(steps) < 2:
        return None
    rows = [[table[step] for table in tables] for step in steps]
    means = [fmean(row) for row in rows]
    if len(tables) == 2:
        return Band(steps, means, [min(row) for row in rows], [max(row) for row in rows])
    spreads = [stdev(row) for row in rows]
    return Band(
        steps,
        means,
        [mean - spread for mean, spread in zip(means, spreads, strict=True)],
        [mean + spread for mean, spread in zip(means, spreads, strict=True)],
    )
