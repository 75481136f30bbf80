"""Verdicts over synthetic courses of a run."""

from math import exp, log, nan

import numpy as np
import pytest
import torch

from ssl_norm.losses import info_nce, nt_xent
from ssl_norm.monitors.trend import (
    Trend,
    advance_pinned,
    advance_trend,
    loss_constants,
    trend_of,
    trend_values,
)
from ssl_norm.monitors.verdict import (
    PATIENCE,
    PinnedLoss,
    Thresholds,
    VerdictState,
    advance,
    evidence,
    zone,
)

STEPS = 1_200
LIMITS = Thresholds()


def judged(negative, gap, seed=0, noise=0.02):
    """Return the changes of the verdict, and the last state and values, of a noisy course.

    Args:
        negative: negative cosine of a step.
        gap: positive less negative cosine of a step.
        seed: seed of the noise.
        noise: its deviation, as a share of the distance of the cosines from 1.
    """
    noises = np.random.default_rng(seed).normal(0, noise, (STEPS, 2))
    state, trend, changes = VerdictState(), Trend(), []
    for step, (first, second) in enumerate(noises, start=1):
        room = 1 - negative(step)
        cosine = negative(step) + room * first
        positive = cosine + gap(step) + room * second
        trend = advance_trend(trend, step, positive, cosine, LIMITS.collapsing_window)
        values = {"negative_cosine": cosine, "feature_std": max(room, 0) ** 0.5}
        values |= trend_values(trend, LIMITS.complete_cosine, LIMITS.collapsing_window)
        values["collapsing"] = float(state.verdict == "collapsing")
        before, state = state, advance(state, step, zone(values, LIMITS), patience=PATIENCE)
        if state.verdict != before.verdict:
            changes.append((step, state.verdict))
    return changes, state, values


def approach(start, rate):
    return lambda step: 1 - (1 - start) * exp(-rate * step)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rate", [0.001, 0.002, 0.004])
def test_a_slow_collapse_is_seen_long_before_it_is_complete(rate, seed):
    negative = approach(0.4, rate)
    changes, _, _ = judged(negative, lambda step: 0.5 * (1 - negative(step)), seed)
    alarm = next(step for step, verdict in changes if verdict == "collapsing")
    complete = log(0.6 / 0.01) / rate
    assert negative(alarm) < 0.7
    assert alarm < complete / 5
    if complete + 200 < STEPS:
        assert changes[-1][1] == "complete"


@pytest.mark.parametrize("seed", range(3))
def test_a_climb_that_ends_near_097_is_collapsing_early(seed):
    negative = approach(0.5, 0.0019)  # 0.94 at step 1,100
    changes, _, _ = judged(negative, lambda step: 0.5 * (1 - negative(step)), seed)
    assert [verdict for _, verdict in changes] == ["healthy", "collapsing"]
    assert changes[-1][0] < 200


def test_the_forecast_is_the_step_at_which_an_exponential_approach_is_complete():
    negative = approach(0.4, 0.004)
    trend = Trend()
    for step in range(1, 301):
        trend = advance_trend(trend, step, nan, negative(step), 100)
    values = trend_values(trend, 0.99, 100)
    assert values["trend_step"] + values["steps_to_complete"] == pytest.approx(log(60) / 0.004)
    assert values["trend_cosine"] == pytest.approx(negative(300))
    assert values["trend_per_100"] == pytest.approx(negative(400) - negative(300))
    assert "gap" not in values


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "negative",
    [
        lambda step: 0.05 + 0.75 * (step / 40) * exp(1 - step / 40),  # rises and falls again
        lambda step: 0.45 - 0.4 * exp(-step / 300),  # rises, and stays low
        lambda step: 0.85,
        lambda step: 0.9 - 0.5 * (1 - exp(-step / 300)),
        lambda step: 0.27,
    ],
)
def test_health_raises_no_alarm(negative, seed):
    changes, _, _ = judged(negative, lambda step: 0.6 * (1 - negative(step)), seed, noise=0.1)
    assert {verdict for _, verdict in changes} <= {"healthy", "uncertain"}


@pytest.mark.parametrize("seed", range(3))
def test_a_rise_that_turns_within_the_first_window_is_no_collapse(seed):
    """As in BYOL with batch norm on digits at a high rate: 0.27 to 0.63 at step 60, then down."""

    def turns(step):
        return float(np.interp(step, [20, 60, 100, 120], [0.27, 0.64, 0.61, 0.55]))

    changes, _, _ = judged(turns, lambda step: 0.25 * (1 - turns(step)), seed, noise=0.05)
    assert {verdict for _, verdict in changes} == {"healthy"}


def test_a_saved_trend_is_read():
    trend = Trend()
    for step in range(1, 41):
        trend = advance_trend(trend, step, 0.6, 0.5, 100)
    assert trend_of(list(trend)) == trend
    assert len(trend.parts) == 4
    assert trend_of(()) == Trend()


@pytest.mark.parametrize("every", [1, 5, 10, 25])
def test_a_steady_rise_keeps_its_slope_at_any_interval_of_rows(every):
    trend = Trend()
    for step in range(every, 401, every):
        trend = advance_trend(trend, step, nan, approach(0.4, 0.004)(step), 100)
    values = trend_values(trend, 0.99, 100)
    assert values["trend_kept"] == pytest.approx(1)
    assert values["trend_lasts"] == pytest.approx(1)


def test_verdicts_end_when_a_collapse_stops_or_is_left():
    def stops(step):
        return approach(0.5, 0.003)(min(step, 300))

    def leaves(step):
        return 0.999 if step < 300 else 0.3

    def falls(step):
        return approach(0.5, 0.008)(min(step, 300)) - max(step - 500, 0) / 1000

    for negative, expected in (
        (stops, ["healthy", "collapsing", "healthy"]),
        (leaves, ["complete", "healthy"]),
        (falls, ["healthy", "collapsing", "healthy"]),
    ):
        changes, _, _ = judged(negative, lambda step: 0.5 * (1 - negative(step)))  # noqa: B023
        assert [verdict for _, verdict in changes] == expected


@pytest.mark.parametrize("seed", range(3))
def test_a_collapse_that_stops_near_its_end_stays_a_collapse(seed):
    def stops(step):
        return approach(0.5, 0.008)(min(step, 300))

    changes, state, values = judged(stops, lambda step: 0.5 * (1 - stops(step)), seed)
    assert [verdict for _, verdict in changes] == ["healthy", "collapsing"]
    said = evidence(state, STEPS, values, LIMITS, PATIENCE)
    assert said.startswith("negative cosine has risen to 0.95 and does not fall (feature std 0.")


@pytest.mark.parametrize(
    ("gap", "verdict"), [(0.0, "complete"), (0.01, "uncertain"), (-0.001, "complete")]
)
def test_cosines_that_meet_below_the_border_are_complete(gap, verdict):
    changes, state, values = judged(lambda step: 0.95, lambda step: gap)
    assert state.verdict == verdict
    if verdict == "complete":
        assert changes[0][0] >= LIMITS.collapsing_window
        said = evidence(state, STEPS, values, LIMITS, PATIENCE)
        assert "are equal (gap" in said
        assert "views of one image are no nearer than others" in said


def test_a_gap_that_noise_hides_is_no_collapse():
    changes, _, _ = judged(lambda step: 0.8, lambda step: 0.02, noise=0.8)
    assert "complete" not in {verdict for _, verdict in changes}


def test_steps_without_cosines_or_between_them():
    trend = advance_trend(Trend(), 1, nan, nan, 100)
    assert trend == Trend()
    assert trend_values(trend, 0.99, 100) == {}
    for step in range(10, 200, 10):
        trend = advance_trend(trend, step, 0.6, 0.5 + step / 1000, 100)
    assert trend_values(trend, 0.99, 100)["trend_steps"] == 181
    assert advance_trend(trend, 200, 0.6, nan, 100) == trend


def test_the_evidence_has_the_forecast():
    values = {
        "negative_cosine": 0.81,
        "feature_std": 0.43,
        "trend_step": 240.0,
        "trend_steps": 240.0,
        "trend_cosine": 0.803,
        "trend_per_100": 0.052,
        "trend_errors": 9.0,
        "trend_kept": 0.9,
        "trend_lasts": 0.9,
        "steps_to_complete": 461.0,
    }
    said = evidence(VerdictState("collapsing", 121), 240, values, LIMITS, PATIENCE)
    assert said == (
        "negative cosine 0.80 and rising 0.052 per 100 steps: complete at about step 700 "
        "(feature std 0.4300); collapsing for 120 steps"
    )


def test_constants_are_the_losses_of_equal_embeddings():
    ones, queue = torch.ones(8, 4), torch.ones(5, 4)
    constants = loss_constants(rows=8, width=4, negatives=5)
    assert constants["ln(2N - 1)"] == pytest.approx(float(nt_xent(ones, ones, 0.1)))
    assert constants["ln(queue + 1)"] == pytest.approx(float(info_nce(ones, ones, queue, 0.1)))


def test_a_loss_at_a_constant_is_named_with_its_steps():
    constants = loss_constants(rows=64, width=100, negatives=4096)
    assert constants["ln N"] == pytest.approx(log(64))
    assert constants["ln(queue + 1)"] == pytest.approx(log(4097))
    assert constants["ln K of K outputs"] == pytest.approx(log(100))
    pinned = {}
    for step, loss in enumerate([9.0, 4.15, 4.18, 4.16, nan, 4.16], start=1):
        pinned = advance_pinned(pinned, step, loss, {"ln N": log(64), "0": 0.0}, 0.01)
    assert pinned == {"ln N": 6}
    state, values = VerdictState("healthy", 1), {"negative_cosine": 0.3, "feature_std": 0.8}
    for steps, named in ((199, False), (200, True)):
        said = evidence(state, 300, values, LIMITS, PATIENCE, PinnedLoss("ln N", log(64), steps))
        assert ("loss has been within 1% of ln N = 4.159 for 200 steps" in said) == named
