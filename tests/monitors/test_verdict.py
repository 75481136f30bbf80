from math import nan

import pytest

from ssl_norm.monitors.verdict import (
    Thresholds,
    VerdictState,
    advance,
    at_collapse,
    evidence,
    zone,
    zone_sentence,
)

ZONES = {"x": "complete", ".": "healthy", "d": "dimensional", "?": "uncertain"}


def history(marks, patience=3):
    """Return the state after a string of steps, each marked with its zone."""
    state = VerdictState()
    for step, mark in enumerate(marks, start=1):
        state = advance(state, step, ZONES[mark], patience)
    return state


@pytest.mark.parametrize(
    ("marks", "verdict", "since"),
    [
        ("", "uncertain", None),
        ("..", "uncertain", None),
        ("...", "healthy", 1),
        ("xx....", "healthy", 3),
        ("xxx", "complete", 1),
        ("...xx", "healthy", 1),
        ("...xxx", "complete", 4),
        ("...xx.xx.xx", "healthy", 1),
        ("...x?x?x?", "uncertain", 4),
        ("xxx..", "complete", 1),
        ("xxx..x..", "complete", 1),
        ("xxx...", "healthy", 4),
        ("xxx....xxx", "complete", 8),
        ("ddd", "dimensional", 1),
        ("dddxxx", "complete", 4),
        ("???", "uncertain", 1),
        ("...???", "uncertain", 4),
        ("...x?x", "uncertain", 4),  # outside for the whole patience, but not in one zone
        ("...x?xxx", "complete", 6),
        ("xxx?.?.?", "uncertain", 4),
        ("...x?.x?", "healthy", 1),
    ],
)
def test_verdict(marks, verdict, since):
    state = history(marks)
    assert (state.verdict, state.since) == (verdict, since)
    assert state.collapsed_at_step == (since if verdict in ("complete", "dimensional") else None)


def test_patience_of_one_follows_every_step_and_steps_may_skip():
    verdicts = [history("x.d?"[:n], patience=1).verdict for n in range(1, 5)]
    assert verdicts == ["complete", "healthy", "dimensional", "uncertain"]
    state = VerdictState()
    for step, verdict in ((10, "uncertain"), (20, "uncertain"), (30, "complete")):
        assert state.verdict == "uncertain"
        state = advance(state, step, "complete", patience=20)
        assert state.verdict == verdict
    assert state.collapsed_at_step == 10
    for step in (40, 50, 60):  # in two zones: outside for 21 steps
        state = advance(state, step, "healthy" if step == 50 else "dimensional", patience=20)
    assert (state.verdict, state.since) == ("uncertain", 40)


def at(cosine, std, **more):
    return zone({"negative_cosine": cosine, "feature_std": std, **more}, Thresholds())


@pytest.mark.parametrize(
    ("cosine", "std", "expected"),
    [
        (0.9999, 0.002, "complete"),
        (0.5, 0.01, "complete"),  # the online network is constant, the target elsewhere
        (0.0, 0.0, "complete"),  # rows of zeros have no cosine
        (0.965, 0.16, "uncertain"),
        (0.5, 0.1, "uncertain"),
        (0.95, 0.5, "uncertain"),
        (0.27, 0.8, "healthy"),
        (-0.01, 0.99, "healthy"),
        (nan, nan, "uncertain"),  # not measured
        (nan, 0.5, "uncertain"),
        (0.5, nan, "uncertain"),
        (0.99, 0.3, "uncertain"),  # the following are at a threshold
        (0.3, 0.05, "uncertain"),
        (0.9, 0.3, "uncertain"),
        (0.3, 0.25, "uncertain"),
    ],
)
def test_zones(cosine, std, expected):
    assert at(cosine, std) == expected


RISING = {
    "trend_steps": 100.0,
    "trend_cosine": 0.7,
    "trend_errors": 5.0,
    "trend_kept": 0.6,
    "trend_lasts": 0.1,
    "steps_to_complete": 1999.0,
}
COLLAPSING = RISING | {"collapsing": 1.0, "trend_kept": 0.1}
CLOSED = RISING | {"trend_errors": 0.0, "gap": 1e-3, "gap_error": 2e-3}


@pytest.mark.parametrize(
    ("course", "verdict", "borders"),
    [
        (
            RISING,
            "collapsing",
            "trend_steps=99 trend_cosine=0.6 trend_errors=4 trend_errors=-5 trend_kept=0.5 "
            "trend_lasts=0 steps_to_complete=2000",
        ),
        (COLLAPSING, "collapsing", "trend_steps=99 trend_cosine=0.6 trend_errors=0"),
        (
            COLLAPSING | {"trend_cosine": 0.95, "trend_errors": -4.0},
            "collapsing",
            "trend_cosine=0.9 trend_errors=-4.1",
        ),
        (CLOSED, "complete", "trend_steps=99 trend_cosine=0.5 gap_error=0.003"),
    ],
)
def test_a_course_counts_from_its_window_on_and_beyond_every_threshold(course, verdict, borders):
    assert at(0.7, 0.5, **course) == verdict
    for border in borders.split():
        name, _, value = border.partition("=")
        assert at(0.7, 0.5, **{**course, name: float(value)}) == "healthy", border


def test_zone_counts_dimensions_where_they_are_known():
    assert at(0.27, 0.8, effective_rank=2.0, dimensions=128) == "dimensional"
    assert at(0.27, 0.8, effective_rank=2.0, dimensions=16) == "healthy"
    assert at(0.27, 0.8, effective_rank=1.0, dimensions=10) == "dimensional"
    assert at(0.27, 0.8, effective_rank=6.0, dimensions=128) == "dimensional"
    assert at(0.27, 0.8, effective_rank=4.5, dimensions=64) == "dimensional"
    assert at(0.27, 0.8, effective_rank=8.0, dimensions=2048) == "healthy"
    assert at(0.95, 0.2, effective_rank=2.0, dimensions=128) == "dimensional"
    assert at(0.27, 0.8, effective_rank=60.0, dimensions=128) == "healthy"
    assert at(0.9999, 0.001, effective_rank=100.0, dimensions=128) == "complete"
    assert at(0.27, 0.8, effective_rank=nan, dimensions=128) == "healthy"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"complete_cosine": 1.0}, r"complete_cosine=1.0: a number in \[-1, 1\)"),
        ({"complete_std": -0.1}, r"complete_std=-0.1: a number in \[0, 1\)"),
        ({"healthy_cosine": 0.995}, "healthy_cosine=0.995 is above complete_cosine=0.99"),
        ({"complete_std": 0.3}, "healthy_std=0.25 is below complete_std=0.3"),
    ],
)
def test_thresholds_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        Thresholds(**options)


def measured(cosine, std, **more):
    return {"negative_cosine": cosine, "feature_std": std, **more}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (measured(0.8483, 0.0107), "feature std 0.0107, below 0.05 (negative cosine 0.8483)"),
        (
            measured(0.9993, 0.01),
            "negative cosine 0.9993, above 0.99, and feature std 0.0100, below 0.05",
        ),
        (
            measured(0.9825, 0.11, effective_rank=1.8, dimensions=256),
            "effective rank 1.8 of at most 256, below 7.68; "
            "negative cosine 0.9825, feature std 0.1100",
        ),
        (
            measured(0.5, 0.1, effective_rank=1.8, dimensions=16),
            "feature std 0.1000, between 0.05 and 0.25 (negative cosine 0.5000); "
            "effective rank 1.8 of at most 16",
        ),
        (
            measured(0.27, 0.8, effective_rank=30.5, dimensions=128),
            "negative cosine 0.2700, feature std 0.8000; effective rank 30.5 of at most 128",
        ),
        (measured(nan, nan), "negative cosine nan, feature std nan"),
    ],
)
def test_the_sentence_names_the_borders_of_the_zone(values, sentence):
    assert zone_sentence(values, Thresholds()) == sentence


def test_how_long_a_verdict_lasts():
    values = measured(0.27, 0.8)
    settled = evidence(VerdictState("healthy", 21), 40, values, Thresholds(), 20)
    assert settled == "negative cosine 0.2700, feature std 0.8000; healthy for 20 steps"
    first = evidence(VerdictState("uncertain", 1), 1, values, Thresholds(), 20)
    assert first.endswith("; uncertain for 1 step")
    early = VerdictState("uncertain", None, "healthy", 3, 1)
    assert evidence(early, 3, values, Thresholds(), 20) == (
        "negative cosine 0.2700, feature std 0.8000; healthy for the last 3 steps, and a verdict "
        "takes 20"
    )
    leaving = VerdictState("complete", 1, "healthy", 3, 38, 3, 38)
    assert evidence(leaving, 40, values, Thresholds(), 20).endswith(
        "; collapsed for 40 steps; healthy for the last 3 steps, and a verdict takes 20"
    )
    assert evidence(VerdictState(), 0, {}, Thresholds(), 20) == "nothing was measured yet"


def test_a_loss_near_that_of_constant_embeddings_is_reported():
    collapsed = measured(0.8483, 0.0107, loss=0.0159, loss_at_collapse=0.0)
    assert evidence(VerdictState("complete", 1), 23, collapsed, Thresholds(), 20) == (
        "feature std 0.0107, below 0.05 (negative cosine 0.8483); collapsed for 23 steps; "
        "loss 0.0159, a constant embedding has 0"
    )
    far = collapsed | {"loss": 6.0}
    assert "loss" not in evidence(VerdictState("complete", 1), 23, far, Thresholds(), 20)
    assert "loss" not in evidence(VerdictState("healthy", 1), 23, collapsed, Thresholds(), 20)


def test_at_collapse_is_relative_to_large_losses():
    assert at_collapse({"loss": 9.3, "loss_at_collapse": 9.01})
    assert not at_collapse({"loss": 0.3, "loss_at_collapse": 0.0})
    assert not at_collapse({"loss": 0.0})
