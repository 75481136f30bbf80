import json

import matplotlib.image
import pytest
import torch
from rich.console import Console

from ssl_norm.diagnosis.diagnosis import (
    Judgement,
    collapse_begins_at,
    diagnose_outputs,
    diagnosis_record,
    judge_features,
    judge_projections,
    measure,
    measure_raw,
)
from ssl_norm.diagnosis.outputs import Outputs
from ssl_norm.diagnosis.presentation import (
    cosines,
    draw_diagnosis,
    layer_table,
    monitor_table,
    verdict_lines,
)
from ssl_norm.monitors import (
    MONITORS,
    CollapseMonitor,
    feature_std,
    lidar,
    participation_ratio,
    positive_negative_cosine,
    rank_me,
)
from ssl_norm.monitors.layers import LayerRow
from ssl_norm.monitors.normalized import directions
from ssl_norm.monitors.spectral import token_monitors
from ssl_norm.monitors.verdict import Thresholds
from ssl_norm.text import finite_or_none

OF_TOKENS = {*token_monitors()}


def spread(count=60, width=16, noise=0.1):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, width, generator=generator)
    return images + noise * torch.randn(2, count, width, generator=generator)


def constant(count=60, width=16):
    return torch.ones(2, count, width) + 1e-3 * spread(count, width)


def outputs(features, projections):
    layers = {"encoder.conv": tuple(spread()), "encoder": tuple(features)}
    if projections is not None:
        layers |= {"projector.0": tuple(projections), "predictor.0": tuple(projections)}
    return Outputs(features, projections, layers)


@pytest.fixture
def collapsed():
    return diagnose_outputs(outputs(spread(), constant()), step=7)


@pytest.fixture
def sound():
    return diagnose_outputs(outputs(spread(), spread()), step=0)


def test_every_monitor_is_measured():
    views = spread()
    values = measure(views)
    assert values.keys() == {*MONITORS, "dimensions"} - OF_TOKENS
    positive, negative = positive_negative_cosine(*views)
    assert values["positive_cosine"] == positive.item()
    assert values["negative_cosine"] == negative.item()
    assert values["feature_std"] == feature_std(views[0]).item()
    assert values["rank_me"] == rank_me(directions(views[0])).item()
    assert values["lidar"] == lidar(views.transpose(0, 1)).item()
    assert values["dimensions"] == 16
    assert measure(spread(count=10))["dimensions"] == 9  # of centred rows


@pytest.fixture
def long_tailed():
    """Return views whose rows have lengths over three orders of magnitude."""
    lengths = torch.randn(60, generator=torch.Generator().manual_seed(1)).mul(2).exp()
    return spread() * lengths[:, None]


def test_a_run_measures_the_same(long_tailed):
    monitor = CollapseMonitor(spectral_every=1)
    monitor.observe(1, [tuple(long_tailed)])
    of_run, found = monitor.collect(), measure(long_tailed)
    assert of_run.keys() == {*MONITORS} - {"alignment", "lidar"} - OF_TOKENS
    for name, value in of_run.items():
        assert found[name] == pytest.approx(value, rel=1e-9, nan_ok=True), name


def test_lengths_of_rows_show_in_the_raw_values_only(long_tailed):
    raw, found = measure_raw(long_tailed), measure(long_tailed)
    assert raw.keys() == {
        "rank_me", "effective_rank", "participation_ratio", "ne_sum", "alpha_req",
        "off_diagonal_correlation",
    }  # fmt: skip
    assert raw["participation_ratio"] == participation_ratio(long_tailed[0]).item()
    assert raw["participation_ratio"] < found["participation_ratio"] / 2
    assert measure(spread())["participation_ratio"] == pytest.approx(found["participation_ratio"])


def test_collapsed_projections_over_sound_features(collapsed):
    assert collapsed.verdict == "complete"
    assert collapsed.judgements["features"].verdict == "healthy"
    assert collapsed.collapse_begins_at == "projector.0"
    assert collapsed.evidence.startswith("projections: complete (")
    assert "; features: healthy (" in collapsed.evidence
    assert collapsed.evidence.endswith("; the collapse begins at layer projector.0")


def test_features_decide_if_they_collapsed_or_no_projector_is_known():
    found = diagnose_outputs(outputs(constant(), None), step=0)
    assert (found.verdict, found.collapse_begins_at) == ("complete", "encoder")
    assert list(found.parts) == ["features"]
    assert diagnose_outputs(outputs(constant(), spread()), step=0).verdict == "complete"


def test_the_record_is_json_and_holds_no_nan(collapsed, sound):
    record = json.loads(json.dumps(diagnosis_record(collapsed, sound), allow_nan=False))
    assert record["verdict"] == "complete"
    assert record["zones"]["projections"] == vars(Thresholds())
    assert record["zones"]["features"]["complete_std"] == 0.02
    assert record["projections"]["random_init"]["rank_me"] == sound.parts["projections"]["rank_me"]
    assert record["features"]["raw"] == finite_or_none(collapsed.raw["features"])
    assert record["features"]["random_init"]["raw"] == finite_or_none(sound.raw["features"])
    layer, row = record["layers"][2], collapsed.layers[2]
    assert (layer["layer"], row.step, layer["feature_std"]) == ("projector.0", 7, row.feature_std)
    assert layer["random_init"]["feature_std"] == sound.layers[2].feature_std
    assert diagnosis_record(collapsed, None)["features"]["random_init"] is None


@pytest.mark.parametrize("with_random", [True, False])
def test_tables_and_picture(collapsed, sound, with_random, tmp_path):
    random_init = sound if with_random else None
    console = Console(width=80, file=(tmp_path / "out").open("w"))
    console.print(monitor_table(collapsed, random_init))
    console.print(layer_table(collapsed, random_init))
    console.print(*verdict_lines(collapsed), sep="\n", soft_wrap=True)
    console.file.close()
    text = (tmp_path / "out").read_text()
    assert all(name.replace("_", " ") in text for name in {*MONITORS} - OF_TOKENS)
    assert "…" not in text
    assert "the collapse begins at layer projector.0" in text
    draw_diagnosis(collapsed, random_init, "a title", tmp_path / "picture.png")
    assert matplotlib.image.imread(tmp_path / "picture.png").std() > 0.05


def test_cosines_of_pairs():
    views = spread(5)
    matching, foreign = cosines(views)
    positive, negative = positive_negative_cosine(*views)
    assert matching.mean().item() == pytest.approx(positive.item())
    assert len(foreign) == 5 * 4  # of 5 images all others are compared with
    assert foreign.mean().item() == pytest.approx(negative.item())


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
        (COLLAPSED, 100, 128, "complete"),  # a round remainder
        (TRAINED, 3.0, 512, "dimensional"),
        (TRAINED, 3.0, 16, "healthy"),
        (TRAINED | {"feature_std": 0.03}, 60, 128, "uncertain"),
        (TRAINED | {"positive_cosine": 0.626}, 60, 128, "uncertain"),
    ],
)
def test_features(values, rank, dimensions, verdict):
    found = judge_features(values | {"effective_rank": rank, "dimensions": dimensions})
    assert found.verdict == verdict
    assert "\n" not in found.evidence


def test_evidence_of_complete_collapse():
    for cosine in (0.0, 1.0):  # zeros, one direction
        values = {"positive_cosine": cosine, "negative_cosine": cosine, "feature_std": 0.0}
        found = judge_features(values | {"effective_rank": 0.0, "dimensions": 128})
        evidence = "feature std 0.0000, below 0.02: one direction for all images"
        assert found == Judgement("complete", evidence)
    ranks = {"effective_rank": 40.0, "dimensions": 128}
    assert judge_projections(TRAINED | ranks).verdict == "healthy"
    evidence = "negative cosine 0.9999, above 0.99, and feature std 0.0088, below 0.05"
    assert judge_projections(COLLAPSED | ranks) == Judgement("complete", evidence)


def rows(**stds):
    names = {name.replace("_", "."): std for name, std in stds.items()}
    return [LayerRow(0, name, 0.9, 0.8, std, 3.0, float("nan")) for name, std in names.items()]


def test_where_the_collapse_begins():
    begin = collapse_begins_at(rows(encoder=0.5, projector_0=0.2, projector_2=0.009))
    assert begin == "projector.2"
    assert collapse_begins_at(rows(encoder=0.5, projector_0=0.01, projector_1=0.9)) is None
    assert collapse_begins_at(rows(encoder_a=0.9, encoder_b=0.01, encoder=0.0)) == "encoder.b"
    assert collapse_begins_at([]) is None
