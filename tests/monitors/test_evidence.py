from math import nan

import pytest

from ssl_norm.monitors.evidence import at_collapse, evidence, zone_sentence
from ssl_norm.monitors.verdict import Thresholds, VerdictState


def measured(cosine, std, **more):
    return {"negative_cosine": cosine, "feature_std": std, **more}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            measured(0.8483, 0.0107),
            "feature std 0.0107, below 0.05 (negative cosine 0.8483)",
        ),
        (
            measured(0.995, 0.07, effective_rank=90.0, dimensions=128),
            "negative cosine 0.9950, above 0.99 (feature std 0.0700)",
        ),
        (
            measured(0.9993, 0.01),
            "negative cosine 0.9993, above 0.99, and feature std 0.0100, below 0.05",
        ),
        (
            measured(0.9825, 0.11, effective_rank=1.8, dimensions=256),
            "negative cosine 0.9825, between 0.9 and 0.99, and feature std 0.1100, between 0.05 and "
            "0.25; effective rank 1.8 of at most 256, below 5",
        ),
        (
            measured(0.5, 0.1, effective_rank=1.8, dimensions=16),
            "feature std 0.1000, between 0.05 and 0.25 (negative cosine 0.5000); "
            "effective rank 1.8 of at most 16",
        ),
        (
            measured(0.27, 0.8, effective_rank=2.0, dimensions=128),
            "effective rank 2.0 of at most 128, below 5; negative cosine 0.2700, feature std 0.8000",
        ),
        (
            measured(0.27, 0.8, effective_rank=30.5, dimensions=128),
            "negative cosine 0.2700, feature std 0.8000; effective rank 30.5 of at most 128",
        ),
        (
            measured(0.27, 0.8, effective_rank=nan, dimensions=128),
            "negative cosine 0.2700, feature std 0.8000",
        ),
        (measured(nan, nan), "negative cosine nan, feature std nan"),
    ],
)
def test_the_sentence_names_the_borders_of_the_zone(values, sentence):
    assert zone_sentence(values, Thresholds()) == sentence


def test_borders_are_the_thresholds_given():
    thresholds = Thresholds(complete_std=0.1)
    assert zone_sentence(measured(0.5, 0.08), thresholds).startswith(
        "feature std 0.0800, below 0.1"
    )


def test_how_long_a_verdict_lasts():
    values = measured(0.27, 0.8)
    settled = evidence(VerdictState("healthy", 21), 40, values, Thresholds(), 20)
    assert settled == "negative cosine 0.2700, feature std 0.8000; healthy for 20 steps"
    early = VerdictState("uncertain", None, "healthy", 3, 1)
    assert evidence(early, 3, values, Thresholds(), 20) == (
        "negative cosine 0.2700, feature std 0.8000; healthy for the last 3 steps, and a verdict takes 20"
    )
    leaving = VerdictState("complete", 1, "healthy", 3, 38, 3, 38)
    assert evidence(leaving, 40, values, Thresholds(), 20).endswith(
        "; collapsed for 40 steps; healthy for the last 3 steps, and a verdict takes 20"
    )
    assert evidence(VerdictState(), 0, {}, Thresholds(), 20) == "nothing was measured yet"


def test_the_loss_is_told_where_it_is_that_of_a_constant():
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
