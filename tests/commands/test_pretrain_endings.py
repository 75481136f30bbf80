"""tools/pretrain.py as a user runs it: endings with exit codes 3 and 4, exact statistics at the end."""

import json

import pytest
import torch

from tests.commands.pretraining import pretrain, pretrain_with_two_processes


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_collapse_can_stop_the_run_with_exit_code_3(tmp_path, processes):
    start = pretrain if processes == 1 else pretrain_with_two_processes
    ended = start(
        tmp_path,
        "norm.projector=none",
        "norm.predictor=none",
        "epochs=100",
        "monitor.on_collapse=stop",
        "monitor.patience=3",
        "linear_probe=true",
    )
    stopped = [line for line in ended.stderr.splitlines() if line.startswith("error: complete")]
    assert len(stopped) == 1, ended.stderr
    assert "since step" in stopped[0]
    if processes == 1:  # torchrun has exit codes of its own
        assert ended.returncode == 3
        assert "Traceback" not in ended.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["verdict"] == "complete"
    assert "linear_top1" in summary
    assert summary["collapsed_at_step"] <= summary["steps"] < 500
    assert torch.load(tmp_path / "last.pt", weights_only=True)["step"] == summary["steps"]


@pytest.mark.slow
def test_collapse_can_roll_back_to_the_last_healthy_checkpoint(tmp_path):
    start = ["method.projector.hidden_dim=32", "norm.projector=none", "norm.predictor=none"]
    zones = [
        "healthy_cosine=0.9",
        "complete_cosine=0.93",
        "healthy_std=0.02",
        "complete_std=0.01",
    ]
    ended = pretrain(
        tmp_path,
        *start,
        *(f"monitor.{zone}" for zone in zones),
        "optimizer.lr=0.05",
        "epochs=100",
        "monitor.on_collapse=rollback",
        "monitor.patience=2",
    )
    assert ended.returncode == 3, ended.stderr
    assert "Traceback" not in ended.stderr
    line = ended.stderr.splitlines()[-1]
    healthy, collapsed = (
        torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("last", "collapsed")
    )
    assert f"last.pt is the healthy checkpoint of step {healthy['step']}" in line
    assert healthy["monitor"]["verdict"][0] == "healthy"
    assert healthy["monitor"]["verdict"][2] is None  # no step in another zone before it
    assert collapsed["monitor"]["verdict"][0] == "complete"
    assert 0 < healthy["step"] < collapsed["step"]
    assert not (tmp_path / "healthy.pt").exists()
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["ended"], summary["verdict"]) == ("collapse", "complete")
    assert summary["rolled_back_to_step"] == healthy["step"]


@pytest.mark.slow
def test_non_finite_loss_ends_with_exit_code_4_and_keeps_the_last_good_checkpoint(tmp_path):
    assert pretrain(tmp_path, "epochs=2").returncode == 0
    checkpoint = torch.load(tmp_path / "last.pt", weights_only=True)
    checkpoint["config"]["epochs"] = 4
    checkpoint["learner"]["predictor.0.weight"].fill_(float("inf"))
    torch.save(checkpoint, tmp_path / "last.pt")
    before = (tmp_path / "last.pt").read_bytes()
    ended = pretrain(tmp_path, "epochs=4", "resume=true", "linear_probe=true")
    assert ended.returncode == 4, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "the loss became nan at step 11" in ended.stderr.splitlines()[-1]
    assert (tmp_path / "last.pt").read_bytes() == before
    assert json.loads((tmp_path / "summary.json").read_text())["steps"] == 10


def test_exact_population_statistics_end_the_run(tmp_path):
    ema, exact = tmp_path / "ema", tmp_path / "exact"
    assert pretrain(ema, "epochs=1").returncode == 0
    done = pretrain(exact, "epochs=1", "norm.encoder={name: bn, population: exact}")
    assert done.returncode == 0, done.stderr
    assert "exact population statistics of 9984 images: " in done.stderr
    before, after = (torch.load(f / "last.pt", weights_only=True)["learner"] for f in (ema, exact))
    assert before.keys() == after.keys()
    for key, value in before.items():
        assert torch.equal(value, after[key]) == (".running_" not in key), key
