from math import nan

import pytest

from ssl_norm.monitors.verdict import Thresholds, VerdictState, advance, zone

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
        ("...x?x", "uncertain", 4),  # outside for as long as patience lasts, in no one zone
        ("...x?xxx", "complete", 6),
        ("xxx?.?.?", "uncertain", 4),
        ("...x?.x?", "healthy", 1),
    ],
)
def test_verdict(marks, verdict, since):
    state = history(marks)
    assert (state.verdict, state.since) == (verdict, since)
    assert state.collapsed_at_step == (since if verdict in ("complete", "dimensional") else None)


def test_patience_of_one_follows_every_step():
    assert [history("x.d?"[:n], patience=1).verdict for n in range(1, 5)] == [
        "complete", "healthy", "dimensional", "uncertain",
    ]  # fmt: skip


def test_steps_may_skip():
    state = advance(VerdictState(), 10, "complete", patience=2)
    assert advance(state, 20, "complete", patience=2).collapsed_at_step == 10


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
    ],
)
def test_zones(cosine, std, expected):
    assert at(cosine, std) == expected


def test_zone_counts_dimensions_where_they_are_known():
    assert at(0.27, 0.8, effective_rank=2.0, dimensions=128) == "dimensional"
    assert at(0.27, 0.8, effective_rank=2.0, dimensions=16) == "healthy"
    assert at(0.27, 0.8, effective_rank=1.0, dimensions=10) == "dimensional"
    assert at(0.27, 0.8, effective_rank=6.0, dimensions=2048) == "healthy"
    assert at(0.27, 0.8, effective_rank=60.0, dimensions=128) == "healthy"
    assert at(0.9999, 0.001, effective_rank=100.0, dimensions=128) == "complete"
    assert at(0.27, 0.8, effective_rank=nan, dimensions=128) == "healthy"


@pytest.mark.parametrize("values", [(nan, nan), (nan, 0.5), (0.5, nan)])
def test_what_was_not_measured_proves_nothing(values):
    assert at(*values) == "uncertain"


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
