"""tools/pretrain.py as a user runs it: kill and resume, several processes, endings with exit codes 3 and 4."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent.parent
SMALL = (
    "encoder.name=tiny16",
    "data.image_size=16",
    "data.limit=160",
    "batch_size=32",
    "monitor.log_every=2",
    "device=cpu",
    "linear_probe=false",
)
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(folder: Path, *overrides: str) -> list[str]:
    return [sys.executable, "tools/pretrain.py", *SMALL, f"run_dir={folder}", *overrides]


def pretrain(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, *overrides), cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True
    )


def rows(folder: Path) -> list[dict[str, str]]:
    path = folder / "metrics.csv"
    return list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []


def kill_after(folder: Path, step: int, *overrides: str) -> None:
    """Start or go on with a run, and kill -9 it once a row of at least `step` stands in metrics.csv."""
    process = subprocess.Popen(
        command(folder, *overrides), cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        found = rows(folder)
        if found and found[-1]["step"].isdigit() and int(found[-1]["step"]) >= step:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"


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


def pretrain_with_two_processes(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return subprocess.run(
        [sys.executable, *torchrun, *command(folder, *overrides)[1:]],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )


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
