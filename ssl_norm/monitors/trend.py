"""Trend of the cosines over steps, their gap, and losses at a known constant.

All functions are pure, take plain numbers, and need constant time for each step.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import exp, expm1, isfinite, log, nan, sqrt
from statistics import fmean
from typing import Any, NamedTuple

_LEAST = 1e-12  # lower bound of 1 - negative cosine in its logarithm
_PARTS = 10  # of a window


class Trend(NamedTuple):
    """Exponentially weighted sums over the steps so far; the latest steps weigh most.

    `room` denotes log(1 - negative cosine). It falls along a straight line while embeddings
    approach one direction exponentially. A gap is positive minus negative cosine. Times are
    relative to the latest step.
    """

    step: int = 0  # the latest
    first: int = 0
    weight: float = 0.0  # sum of the weights
    time: float = 0.0  # weighted sums of times, of their squares, of rooms, ...
    time2: float = 0.0
    room: float = 0.0
    room2: float = 0.0
    time_room: float = 0.0
    gap_weight: float = 0.0  # of steps with a positive cosine
    gap: float = 0.0
    gap2: float = 0.0
    part_start: int = 0  # first step of the present tenth of a window
    part_time: float = 0.0  # sum of its steps, counted from its start
    part_room: float = 0.0
    part_count: int = 0
    parts: tuple[tuple[float, float], ...] = ()  # mean step and room of the last 10 tenths


def trend_of(values: Iterable[Any]) -> Trend:
    """Return the trend of a saved state, which is empty in early checkpoints."""
    saved = tuple(values) or Trend()
    return Trend._make([*saved[:-1], tuple(map(tuple, saved[-1]))])


def advance_trend(
    trend: Trend, step: int, positive_cosine: float, negative_cosine: float, window: float
) -> Trend:
    """Return the trend after one more step; a step without a negative cosine changes nothing.

    Steps are not below the previous one, and may be left out. Cosines may be NaN. After `window`
    steps a weight has fallen to 1/e.
    """
    if not isfinite(negative_cosine):
        return trend
    t, passed = trend, step - trend.step if trend.weight else 0
    keep = exp(-passed / window)
    room = log(max(1 - negative_cosine, _LEAST))
    has_gap = isfinite(positive_cosine)
    gap = positive_cosine - negative_cosine if has_gap else 0.0
    start = t.part_start if t.part_count else step
    part = t.part_time + step - start, t.part_room + room, t.part_count + 1
    is_full = step - start + 1 >= window / _PARTS
    full = (start + part[0] / part[2], part[1] / part[2])
    return Trend(
        step,
        t.first if t.weight else step,
        keep * t.weight + 1,
        keep * (t.time - passed * t.weight),
        keep * (t.time2 - 2 * passed * t.time + passed**2 * t.weight),
        keep * t.room + room,
        keep * t.room2 + room**2,
        keep * (t.time_room - passed * t.room),
        keep * t.gap_weight + has_gap,
        keep * t.gap + gap,
        keep * t.gap2 + gap**2,
        start,
        *((0.0, 0.0, 0) if is_full else part),
        (*t.parts, full)[-_PARTS:] if is_full else t.parts,
    )


def _fall(parts: Sequence[tuple[float, float]], span: float) -> float:
    """Return the change of the room by step between the last two spans; NaN: not known.

    If steps are rarer than spans, neighbouring parts are compared.
    """
    ages = [parts[-1][0] - time for time, _ in parts]
    latest = [part for part, age in zip(parts, ages, strict=True) if age < span]
    before = [part for part, age in zip(parts, ages, strict=True) if span <= age < 2 * span]
    before = before or list(parts[: -len(latest)][-1:])
    if not before:
        return nan
    (time, room), (time2, room2) = ([*map(fmean, zip(*g, strict=True))] for g in (before, latest))
    return (room2 - room) / (time2 - time)


def trend_values(trend: Trend, complete_cosine: float, window: float) -> dict[str, float]:
    """Return slope, forecast and gap, as values of :func:`ssl_norm.monitors.verdict.zone`.

    `complete_cosine` is the negative cosine at which a collapse is complete.

    Returns:
        Empty before the third step; then:
        `trend_step`: the latest step.
        `trend_steps`: number of steps so far.
        `trend_cosine`: negative cosine of the fitted line at the latest step.
        `trend_per_100`: its rise over the next 100 steps.
        `trend_errors`: the rise in standard errors of the slope.
        `steps_to_complete`: infinite if the cosine does not rise.
        `trend_kept`: fall of the room between the last two half windows, as a share of the fall
        that the slope predicts; `trend_lasts`: the same between the last two fifths of a window;
        NaN before there are two.
        `gap` and `gap_error`: mean and standard error of positive minus negative cosine, if
        positive cosines are known.
    """
    t, w = trend, trend.weight
    steps = t.step - t.first + 1
    spread = t.time2 - t.time**2 / w if w else 0.0
    if steps < 3 or spread <= 0:
        return {}
    slope = (t.time_room - t.time * t.room / w) / spread
    room = (t.room - slope * t.time) / w
    left = max(t.room2 - t.room**2 / w - slope**2 * spread, 0.0) / w
    error = sqrt(left / spread) + 1e-15
    to_complete = (room - log(1 - complete_cosine)) / -slope if slope < 0 else float("inf")
    values = {
        "trend_step": float(t.step),
        "trend_steps": float(steps),
        "trend_cosine": 1 - exp(room),
        "trend_per_100": -exp(room) * expm1(100 * slope) if 100 * slope < 50 else -float("inf"),
        "trend_errors": -slope / error,
        "steps_to_complete": max(to_complete, 0.0),
        "trend_kept": _fall(t.parts, window / 2) / slope if slope else nan,
        "trend_lasts": _fall(t.parts, window / 5) / slope if slope else nan,
    }
    if t.gap_weight > 1:
        gap = t.gap / t.gap_weight
        variance = max(t.gap2 / t.gap_weight - gap**2, 0.0)
        values |= {"gap": gap, "gap_error": sqrt(variance / t.gap_weight)}
    return values


def loss_constants(rows: int, width: int, negatives: int = 0) -> dict[str, float]:
    """Return losses of a batch from which nothing was learned, by name.

    Args:
        rows: N, images in the batch.
        width: D of the embeddings; for DINO, iBOT and SwAV, the number K of prototypes.
        negatives: rows of an embedding queue.

    Returns:
        `ln N` and `ln(2N - 1)` of contrastive losses within a batch, `ln(queue + 1)` with a queue,
        `ln K`, and BYOL's loss 2 - 2 cos of unrelated views, for one order of the views or for the
        sum over both.
    """
    unrelated = {"BYOL's loss of unrelated views": 2.0, "twice BYOL's loss of unrelated views": 4.0}
    known = {"ln N": rows, "ln(2N - 1)": 2 * rows - 1, "ln K of K outputs": width}
    known |= {"ln(queue + 1)": negatives + 1} if negatives else {}
    return unrelated | {name: log(count) for name, count in known.items() if count > 1}


def advance_pinned(
    pinned: Mapping[str, int],
    step: int,
    loss: float,
    constants: Mapping[str, float],
    tolerance: float,
) -> dict[str, int]:
    """Return the step since which the loss has been near each constant; omit all other constants.

    `pinned` is the result of the previous step. `tolerance` is the share of a constant (of 1 if it
    is 0) by which the loss may differ.
    """
    return {
        name: pinned.get(name, step)
        for name, constant in constants.items()
        if abs(loss - constant) <= tolerance * (abs(constant) or 1.0)
    }
