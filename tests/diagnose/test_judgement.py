import pytest

from ssl_norm.diagnose.judgement import (
    Judgement,
    collapse_begins_at,
    judge_features,
    judge_projections,
    summary_sentence,
    zones,
    zones_sentence,
)
from ssl_norm.monitors.layers import LayerRow
from ssl_norm.monitors.verdict import Thresholds

# Measured with tools/diagnose.py on CIFAR-10.
RANDOM_RESNET18 = {"positive_cosine": 0.943, "negative_cosine": 0.902, "feature_std": 0.230}
TRAINED = {"positive_cosine": 0.709, "negative_cosine": 0.625, "feature_std": 0.601}
COLLAPSED = {"positive_cosine": 0.99993, "negative_cosine": 0.99991, "feature_std": 0.0088}


@pytest.mark.parametrize(
    ("values", "rank", "dimensions", "verdict"),
    [
        (RANDOM_RESNET18, 18.6, 399, "healthy"),
        (TRAINED, 92.7, 128, "healthy"),
        (COLLAPSED, 3.4, 128, "complete"),
        (COLLAPSED, 100, 128, "complete"),
        (TRAINED, 3.0, 512, "dimensional"),
        (TRAINED, 3.0, 16, "healthy"),
        (TRAINED | {"feature_std": 0.03}, 60, 128, "uncertain"),
        (TRAINED | {"positive_cosine": 0.626}, 60, 128, "uncertain"),
    ],
    ids=[
        "random",
        "trained",
        "collapsed",
        "collapsed, round remainder",
        "few dimensions",
        "narrow",
        "between",
        "noise",
    ],
)
def test_features(values, rank, dimensions, verdict):
    found = judge_features(values | {"effective_rank": rank, "dimensions": dimensions})
    assert found.verdict == verdict
    assert "\n" not in found.evidence


def test_features_of_zeros_have_collapsed():
    zeros = {"positive_cosine": 0.0, "negative_cosine": 0.0, "feature_std": 0.0}
    found = judge_features(zeros | {"effective_rank": 0.0, "dimensions": 128})
    assert found.verdict == "complete"


def test_features_that_point_one_way_exactly():
    same = {"positive_cosine": 1.0, "negative_cosine": 1.0, "feature_std": 0.0}
    found = judge_features(same | {"effective_rank": 0.0, "dimensions": 128})
    assert found == Judgement(
        "complete", "feature std 0.0000, below 0.02: one direction for all images"
    )


def test_projections():
    values = TRAINED | {"effective_rank": 40.0, "dimensions": 128.0}
    assert judge_projections(values).verdict == "healthy"
    found = judge_projections(COLLAPSED | {"effective_rank": 3.4, "dimensions": 128.0})
    assert found == Judgement(
        "complete", "negative cosine 0.9999, above 0.99, and feature std 0.0088, below 0.05"
    )


def test_zones_tell_the_thresholds_of_the_parts_at_hand():
    found = zones(["projections", "features"])
    assert found["projections"] == vars(Thresholds())
    assert found["features"]["complete_std"] == 0.02
    assert zones(["features"]).keys() == {"features"}
    line = zones_sentence(["projections", "features"])
    assert "\n" not in line
    for part in ("projections: complete above negative cosine 0.99", "; features: complete below"):
        assert part in line
    assert zones_sentence(["features"]).startswith("features: ")


def rows(**stds):
    names = {name.replace("_", "."): std for name, std in stds.items()}
    return [LayerRow(0, name, 0.9, 0.8, std, 3.0, float("nan")) for name, std in names.items()]


def test_where_the_collapse_begins():
    assert (
        collapse_begins_at(rows(encoder=0.5, projector_0=0.2, projector_2=0.009)) == "projector.2"
    )
    assert collapse_begins_at(rows(encoder=0.5, projector_0=0.01, projector_1=0.9)) is None
    assert collapse_begins_at(rows(encoder_a=0.9, encoder_b=0.01, encoder=0.0)) == "encoder.b"
    assert collapse_begins_at([]) is None


def test_the_sentence():
    sentence = summary_sentence(
        {
            "projections": Judgement("complete", "cosine 1"),
            "features": Judgement("healthy", "feature std 0.6"),
        },
        "projector.2",
    )
    assert sentence == (
        "projections: complete (cosine 1); features: healthy (feature std 0.6); "
        "the collapse begins at layer projector.2"
    )
    assert (
        summary_sentence({"features": Judgement("healthy", "x")}, None) == "features: healthy (x)"
    )
