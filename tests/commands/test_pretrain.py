"""tools/pretrain.py as a user runs it: kill and resume, several processes."""

import pytest
import torch

from tests.commands.pretraining import kill_after, pretrain, pretrain_with_two_processes, rows


@pytest.mark.slow
@pytest.mark.parametrize("method", ["byol", "moco_v2"])
def test_killed_and_resumed_run_equals_an_uninterrupted_one(tmp_path, method):
    settings = [f"method={method}", "epochs=40", "checkpoint_every=2", "norm.freeze_last_epochs=25"]
    settings += ["method.queue_size=64"] if method == "moco_v2" else []
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert pretrain(whole, *settings).returncode == 0
    kill_after(killed, 1, *settings)
    for step in (33, 94):
        kill_after(killed, step, *settings, "resume=true")
    assert pretrain(killed, *settings, "resume=true").returncode == 0

    expected, found = (torch.load(f / "last.pt", weights_only=True) for f in (whole, killed))
    assert expected["step"] == found["step"] == 200
    for name, value in expected["learner"].items():
        assert torch.equal(value, found["learner"][name]), name
    rings = [checkpoint["monitor"].pop("recent")["ring"] for checkpoint in (expected, found)]
    assert torch.equal(*rings)
    assert repr(expected["monitor"]) == repr(found["monitor"])
    for table in ("spectra.csv", "layers.csv"):
        assert (killed / table).read_text() == (whole / table).read_text()
    speed = "images_per_second"
    assert [{**row, speed: ""} for row in rows(whole)] == [
        {**row, speed: ""} for row in rows(killed)
    ]


@pytest.mark.slow
def test_two_processes_under_torchrun_train_as_one(tmp_path):
    settings = ["norm.projector=ln", "norm.predictor=ln", "epochs=4"]
    settings += ["norm.encoder={name: gn, groups: 8}"]
    assert pretrain(tmp_path / "one", *settings).returncode == 0
    ended = pretrain_with_two_processes(tmp_path / "two", *settings)
    assert ended.returncode == 0, ended.stderr
    one, two = rows(tmp_path / "one"), rows(tmp_path / "two")
    assert len(one) == len(two) == 12
    for row1, row2 in zip(one, two, strict=True):
        for name in ("loss", "positive_cosine", "negative_cosine", "feature_std"):
            same = pytest.approx(float(row2[name]), abs=2e-4)
            assert float(row1[name]) == same, (name, row1["step"])
