"""Trend of the cosines over steps, their gap, and losses at a known constant.

All functions are pure, take plain numbers, and need constant time for each step.
"""

from collections.abc import Mapping
from math import exp, expm1, isfinite, log, nan, sqrt
from typing import NamedTuple

_LEAST = 1e-12  # lower bound of 1 - negative cosine in its logarithm


class Trend(NamedTuple):
    """Exponentially weighted sums over the steps so far; the latest steps weigh most.

    `room` denotes log(1 - negative cosine). It falls along a straight line while embeddings
    approach one direction exponentially. Times are relative to the latest step.

    Attributes:
        step: the latest step.
        first: the first step.
        weight: sum of the weights.
        time: weighted sum of times; `time2`: of squared times.
        room: weighted sum of rooms; `room2`: of squared rooms; `time_room`: of times times rooms.
        gap_weight: sum of the weights of steps with a positive cosine.
        gap: weighted sum of gaps, positive minus negative cosine; `gap2`: of squared gaps.
        half_start: first step of the present half window.
        half_room: sum of the rooms in it; `half_count`: their number.
        latest: mean room of the last complete half window; `before`: of the previous one; NaN
            until there is one.
    """

    step: int = 0
    first: int = 0
    weight: float = 0.0
    time: float = 0.0
    time2: float = 0.0
    room: float = 0.0
    room2: float = 0.0
    time_room: float = 0.0
    gap_weight: float = 0.0
    gap: float = 0.0
    gap2: float = 0.0
    half_start: int = 0
    half_room: float = 0.0
    half_count: int = 0
    latest: float = nan
    before: float = nan


def advance_trend(
    trend: Trend, step: int, positive_cosine: float, negative_cosine: float, window: float
) -> Trend:
    """Return the trend after one more step; a step without a negative cosine changes nothing.

    Args:
        trend: trend so far; `Trend()` before the first step.
        step: number of the step, not below the previous one; numbers may be left out.
        positive_cosine: positive cosine of the step, or NaN.
        negative_cosine: negative cosine of the step, or NaN.
        window: steps after which a weight has fallen to 1/e.
    """
    if not isfinite(negative_cosine):
        return trend
    t, passed = trend, step - trend.step if trend.weight else 0
    keep = exp(-passed / window)
    room = log(max(1 - negative_cosine, _LEAST))
    has_gap = isfinite(positive_cosine)
    gap = positive_cosine - negative_cosine if has_gap else 0.0
    start = t.half_start if t.half_count else step
    half_room, half_count = t.half_room + room, t.half_count + 1
    is_full = step - start + 1 >= window / 2
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
        0.0 if is_full else half_room,
        0 if is_full else half_count,
        half_room / half_count if is_full else t.latest,
        t.latest if is_full else t.before,
    )


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
        that the slope predicts; NaN before there are two.
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
        "trend_kept": (t.latest - t.before) / (slope * window / 2) if slope else nan,
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

    Args:
        pinned: result of the previous step.
        step: number of the step.
        loss: loss of the step.
        constants: constants by name.
        tolerance: share of a constant (of 1 if it is 0) by which the loss may differ.
    """
    return {
        name: pinned.get(name, step)
        for name, constant in constants.items()
        if abs(loss - constant) <= tolerance * (abs(constant) or 1.0)
    }
