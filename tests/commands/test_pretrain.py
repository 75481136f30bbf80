"""Pretraining: exact resumption, several processes, endings with exit codes."""

import csv
import json
import os
import re
import signal
import socket
import time
from pathlib import Path

import pytest
import torch

from ssl_norm.commands import pretrain as command
from ssl_norm.train.loggers import Logger
from ssl_norm.train.run_folder import RunFolder
from tests import warm
from tests.tool import run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    "encoder.name=tiny16", "data.image_size=16", "data.limit=160", "batch_size=32",
    "monitor.log_every=2", "device=cpu", "linear_probe=false", "loggers=[]",
)  # fmt: skip
COLLAPSED_AT_ONCE = (
    "monitor.healthy_std=0.98", "monitor.complete_std=0.97", "monitor.on_collapse=stop",
)  # fmt: skip


def pretrain(folder, *settings):
    """Run the tool in this process, and return exit code and stderr."""
    code, _, said = run("pretrain", *SMALL, f"run_dir={folder}", *settings)
    return code, said


def command_of(folder, *settings):
    return ["tools/pretrain.py", *SMALL, f"run_dir={folder}", *settings]


def kill_after(folder, step, *settings):
    """Start a run, and kill -9 it once metrics.csv has a row of at least `step`."""
    process = warm.Process(command_of(folder, *settings), cwd=ROOT)
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        found = rows(folder)
        if found and found[-1]["step"].isdigit() and int(found[-1]["step"]) >= step:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"


def rows(folder):
    path = folder / "metrics.csv"
    return list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []


def checkpoint(folder, name="last"):
    return torch.load(folder / f"{name}.pt", weights_only=True)


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


def assert_same_run(whole, other):
    expected, found = checkpoint(whole), checkpoint(other)
    assert expected["step"] == found["step"]
    for name, value in expected["learner"].items():
        assert torch.equal(value, found["learner"][name]), name
    rings = [content["monitor"].pop("recent")["ring"] for content in (expected, found)]
    assert torch.equal(*rings)
    assert repr(expected["monitor"]) == repr(found["monitor"])
    for table in ("spectra.csv", "layers.csv"):
        assert (other / table).read_text() == (whole / table).read_text()
    speed = "images_per_second"
    assert [{**row, speed: ""} for row in rows(whole)] == [
        {**row, speed: ""} for row in rows(other)
    ]


@pytest.mark.parametrize("method", ["byol", "moco_v2"])
def test_interrupted_and_resumed_run_equals_an_uninterrupted_one(tmp_path, monkeypatch, method):
    """One run is killed by the system (moco_v2), the other interrupted twice (byol)."""
    settings = [f"method={method}", "checkpoint_every=1", "norm.freeze_last_epochs=2", "epochs=4"]
    settings += ["method.queue_size=64"] if method == "moco_v2" else []
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    if method == "moco_v2":
        settings.append("data.limit=320")  # twice as many steps, so that it does not end before
        kill_after(cut, 12, *settings)
    else:
        row = command.Recorder.row
        for last_step in (7, 16):  # before and after the freezing of statistics

            def interrupted(recorder, found, last_step=last_step):
                row(recorder, found)
                if found["step"] >= last_step:
                    raise KeyboardInterrupt

            with monkeypatch.context() as patched:
                patched.setattr(command.Recorder, "row", interrupted)
                assert pretrain(cut, *settings, "resume=true")[0] == 130
    assert pretrain(whole, *settings)[0] == 0
    code, said = pretrain(cut, *settings, "resume=true")
    assert (code, "resumed after step" in said) == (0, True)
    assert_same_run(whole, cut)


def test_two_processes_train_as_one_and_both_stop_at_collapse(tmp_path):
    settings = ["norm.projector=ln", "norm.predictor=ln", "norm.encoder={name: gn, groups: 8}"]
    settings += [*COLLAPSED_AT_ONCE, "monitor.patience=9", "epochs=4"]
    settings += ["linear_probe=true", "probe_labels=0.1", "monitor.layers_every=0"]
    code, said = pretrain(tmp_path / "one", *settings)
    assert code == 3
    (stopped,) = [line for line in said.splitlines() if line.startswith("error: complete")]
    assert "since step" in stopped
    found = summary(tmp_path / "one")
    assert (found["ended"], found["verdict"]) == ("collapse", "complete")
    assert found["collapsed_at_step"] <= found["steps"] == checkpoint(tmp_path / "one")["step"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        launch = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    ranks = [
        warm.Process(
            command_of(tmp_path / "two", *settings),
            cwd=ROOT,
            env={**os.environ, **launch, "WORLD_SIZE": "2", "RANK": rank, "LOCAL_RANK": rank},
        )
        for rank in "01"
    ]
    said = [process.communicate()[1] for process in ranks]
    assert [process.returncode for process in ranks] == [3, 3], said
    assert [text.count("error: complete") for text in said] == [1, 0]
    assert "FutureWarning" not in "".join(said)
    one, two = rows(tmp_path / "one"), rows(tmp_path / "two")
    assert len(one) == len(two) == 6
    for row1, row2 in zip(one, two, strict=True):
        for name in ("loss", "positive_cosine", "negative_cosine", "feature_std"):
            same = pytest.approx(float(row2[name]), abs=2e-4)
            assert float(row1[name]) == same, (name, row1["step"])
    assert checkpoint(tmp_path / "two")["step"] == summary(tmp_path / "two")["steps"] == 10
    assert "linear_top1" in summary(tmp_path / "two")


def test_a_run_killed_before_its_summary_remembers_a_stop(tmp_path, monkeypatch):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    settings = (*COLLAPSED_AT_ONCE, "monitor.patience=3", "epochs=2")
    assert pretrain(whole, *settings)[0] == 3

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "write_json", killed)
        assert pretrain(cut, *settings)[0] == 130
    assert not (cut / "summary.json").exists()
    for _ in range(2):
        code, said = pretrain(cut, "resume=true")
        assert (code, said.count("error: complete collapse since step")) == (3, 1)
        assert f"run_dir={cut} resume=true monitor.on_collapse=warn" in said
    first, again = summary(whole), summary(cut)
    different = {"images_per_second", "tables", "crc32"}
    assert first.keys() == again.keys()
    assert {k: first[k] for k in first.keys() - different} == {
        k: again[k] for k in again.keys() - different
    }
    code, said = pretrain(cut, "resume=true", "monitor.on_collapse=warn")
    assert code == 0, said
    assert (summary(cut)["ended"], summary(cut)["steps"]) == ("done", 10)


def test_collapse_can_roll_back_to_the_last_healthy_checkpoint(tmp_path):
    heads = ["method.projector.hidden_dim=32", "norm.projector=none", "norm.predictor=none"]
    zones = ["healthy_cosine=0.9", "complete_cosine=0.93", "healthy_std=0.02", "complete_std=0.01"]
    code, said = pretrain(
        tmp_path,
        *heads,
        *(f"monitor.{zone}" for zone in zones),
        "optimizer.lr=0.05",
        "epochs=100",
        "monitor.on_collapse=rollback",
        "monitor.patience=2",
        "monitor.layers_every=0",
    )
    assert code == 3, said
    assert "Traceback" not in said
    healthy, collapsed = checkpoint(tmp_path), checkpoint(tmp_path, "collapsed")
    assert f"last.pt is the healthy checkpoint of step {healthy['step']}" in said.splitlines()[-1]
    assert healthy["monitor"]["verdict"][0] == "healthy"
    assert healthy["monitor"]["verdict"][2] is None  # no step in another zone before it
    assert collapsed["monitor"]["verdict"][0] == "complete"
    assert 0 < healthy["step"] < collapsed["step"]
    assert not (tmp_path / "healthy.pt").exists()
    found = summary(tmp_path)
    assert (found["ended"], found["verdict"]) == ("collapse", "complete")
    assert found["rolled_back_to_step"] == healthy["step"]


def test_collapse_without_a_healthy_checkpoint_says_so(tmp_path):
    settings = [*COLLAPSED_AT_ONCE[:2], "monitor.on_collapse=rollback", "monitor.patience=2"]
    code, said = pretrain(tmp_path, *settings, "epochs=2")
    assert code == 3
    assert "no checkpoint was healthy, so nothing was rolled back" in said
    assert checkpoint(tmp_path)["monitor"]["verdict"][0] == "complete"


def test_a_run_that_diverges_writes_no_checkpoint(tmp_path):
    code, said = pretrain(tmp_path, "epochs=4", "optimizer.lr=1e9", "linear_probe=true")
    assert code == 4
    assert re.search(r"error: \S.* became (nan|-?inf) at step \d+; a lower", said.splitlines()[-1])
    assert "Traceback" not in said
    assert summary(tmp_path)["ended"] == "non_finite_loss"
    assert not list(tmp_path.glob("*.pt"))


def test_a_spoiled_checkpoint_of_an_earlier_version_is_refused(tmp_path):
    assert pretrain(tmp_path, "epochs=1")[0] == 0
    content = checkpoint(tmp_path)
    content["learner"]["predictor.0.weight"].fill_(float("inf"))
    torch.save(content, tmp_path / "last.pt")
    before = (tmp_path / "last.pt").read_bytes()
    code, said = pretrain(tmp_path, "epochs=1", "resume=true")
    assert code == 2
    assert "last.pt of step 5 cannot be resumed: predictor.0.weight is inf; copy" in said
    assert (tmp_path / "last.pt").read_bytes() == before


def test_exact_population_statistics_end_the_run(tmp_path, monkeypatch):
    assert command.EXACT_SAMPLES == 10_000
    monkeypatch.setattr(command, "EXACT_SAMPLES", 100)
    ema, exact = tmp_path / "ema", tmp_path / "exact"
    assert pretrain(ema, "epochs=1")[0] == 0
    code, said = pretrain(exact, "epochs=1", "norm.encoder={name: bn, population: exact}")
    assert code == 0, said
    assert "exact population statistics of 96 images: " in said
    before, after = checkpoint(ema)["learner"], checkpoint(exact)["learner"]
    assert before.keys() == after.keys()
    for key, value in before.items():
        assert torch.equal(value, after[key]) == (".running_" not in key), key


class Failing(Logger):
    """A logger whose service fails."""

    rows = 0

    def row(self, row):
        self.rows += 1
        if self.rows > 1:
            raise ConnectionError("service is gone")


def test_a_logger_that_fails_costs_no_checkpoint(tmp_path):
    loggers = "loggers=[tests.commands.test_pretrain:Failing,tensorboard]"
    code, said = pretrain(tmp_path, "epochs=1", loggers)
    assert code == 0, said
    assert said.count("test_pretrain:Failing' failed and is omitted") == 1
    assert "ConnectionError: service is gone" in said
    assert checkpoint(tmp_path)["step"] == 5
    assert len(list(tmp_path.glob("events.*"))) == 1
