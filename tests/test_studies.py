"""Studies of configs/study/: composition of every arm, and sweeps over arms."""

import json
from functools import cache

import pytest

from ssl_norm.settings.compose import composed_values, given_keys
from ssl_norm.settings.models import validate, without_effect
from ssl_norm.settings.study import read_study, study_tools
from tests.tool import run

pytestmark = pytest.mark.slow

STUDIES = [name for name in study_tools() if read_study(name).arms]
SMALL = [
    "data=digits", "data.image_size=16", "data.cache_size=null", "data.limit=64", "encoder.name=tiny16",
    "batch_size=16", "epochs=1", "device=cpu", "monitor.log_every=2", "loggers=[]",
]  # fmt: skip
ROWS = {"contrastive", "byol", "projection_bn", "prediction_bn", "none", "ln", "random"}


@cache
def arms_of(study):
    """Return the settings of each arm, and separately its checkpoint of another study."""
    tool, found = read_study(study).tool, []
    for arm in read_study(study).arms:
        values = composed_values(tool, [f"study={study}", f"arm={arm}"])
        checkpoint = values.pop("checkpoint", None)
        found.append((validate(tool, values), checkpoint))
    return found


@pytest.mark.parametrize("study", STUDIES)
def test_arms_pass_the_checks_and_differ_and_give_nothing_in_vain(study):
    seen, tool = [], read_study(study).tool
    for config, checkpoint in arms_of(study):
        assert config.study == study
        given = given_keys(tool, [f"study={study}", f"arm={config.arm}"])
        assert [key for key, _, _ in without_effect(config, given)] == []
        settings = config.model_dump(exclude={"arm"}), checkpoint
        assert settings not in seen
        seen.append(settings)
    assert len(read_study(study).seeds) > 1


@pytest.mark.parametrize("study", ["byol_collapse", "byol_collapse_gpu"])
def test_seven_rows_of_the_finding(study):
    rows = {config.arm: config for config, _ in arms_of(study)}
    assert rows.keys() == ROWS
    parts = ("encoder", "projector", "predictor")
    norms = {arm: tuple(str(getattr(c.norm, p)) for p in parts) for arm, c in rows.items()}
    assert norms["byol"] == norms["random"] == ("bn", "bn", "bn")
    assert norms["projection_bn"] == ("bn", "bn", "none")
    assert norms["prediction_bn"] == ("bn", "none", "bn")
    assert norms["none"] == ("bn", "none", "none")
    assert norms["ln"] == ("bn", "ln", "ln")
    assert [arm for arm, config in rows.items() if not config.train] == ["random"]


def sweep(folder, *arguments):
    """Return the arguments of a small sweep into a folder, with resume=true."""
    return [
        "-m", "study=byol_collapse", *SMALL, "linear_probe=false", "resume=true",
        f"hydra.sweep.dir={folder}", *arguments,
    ]  # fmt: skip


def test_sweep_continues_after_a_failed_run(tmp_path):
    arguments = sweep(tmp_path, "arm=none", "seed=7", "batch_size=512,16")
    code, _, printed = run("pretrain", *arguments)
    assert code == 2
    (error,) = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert error.startswith("error: run 0 (study=byol_collapse ")
    assert "arm=none" in error
    (summary,) = tmp_path.glob("*/summary.json")
    assert json.loads(summary.read_text())["arm"] == "none"
    assert "_batch_size-16_" in summary.parent.name


def test_interrupted_sweep_resumes(tmp_path):
    assert run("pretrain", *sweep(tmp_path, "arm=ln", "seed=7,8"))[0] == 0
    (done,), (cut_off,) = tmp_path.glob("ln_*_seed7"), tmp_path.glob("ln_*_seed8")
    summary = json.loads((cut_off / "summary.json").read_text())
    (cut_off / "summary.json").unlink()
    written = (done / "last.pt").stat().st_mtime_ns

    code, _, printed = run("pretrain", *sweep(tmp_path, "arm=ln", "seed=8,7"))
    assert code == 0
    assert "resumed after step 4" in printed
    assert f"{done} is done: summary.json is there; skipped" in printed
    again = json.loads((cut_off / "summary.json").read_text())
    assert again | {"images_per_second": None} == summary | {"images_per_second": None}
    assert (done / "last.pt").stat().st_mtime_ns == written


def test_random_arm_is_not_trained(tmp_path):
    code, _, printed = run(
        "pretrain", "study=byol_collapse", "arm=random", *SMALL, "probe_labels=0.1",
        f"run_dir={tmp_path}", "optimizer.warmup_epochs=0",
    )  # fmt: skip
    assert code == 0
    assert "nothing is trained; the initial network is measured on 4 batches" in printed
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["steps"], summary["lr"], summary["arm"]) == (0, 0.0, "random")
    assert summary["linear_top1"] == summary["linear_top1_random_init"]
    assert summary["knn_top1"] > summary["chance"]
    assert summary["probe_labels"] == 0.1
    assert 0 < summary["negative_cosine"] < summary["positive_cosine"] < 1


def test_sweep_resume_needs_a_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, _, printed = run("pretrain", *["-m", "study=byol_collapse", "arm=none", "resume=true"])
    assert code == 2
    assert "with -m, hydra.sweep.dir=..., the folder of the sweep" in printed


def test_fine_tuning_study_sweeps_its_grid_and_resumes(tmp_path):
    arguments = [
        "-m", "study=ubn_few_labels", "arm=ubn", "seed=7", "labels_per_class=2,4", "data=digits",
        "data.cache_size=null", "data.limit=200", "encoder.name=tiny16", "steps=2", "batch_size=8", "device=cpu",
        "evaluation.limit=32", "evaluation.samples=[32]", "resume=true", "loggers=[]", f"hydra.sweep.dir={tmp_path}",
    ]  # fmt: skip
    for skipped in (0, 2):
        code, _, said = run("finetune", *arguments)
        assert code == 0
        assert said.count("summary.json is there; skipped") == skipped
    found = [json.loads(path.read_text()) for path in tmp_path.glob("*/summary.json")]
    assert sorted((run["arm"], run["labels"]) for run in found) == [("ubn", 20), ("ubn", 40)]
    assert len(list(tmp_path.glob("ubn_*labels_per_class-4*_seed7"))) == 1
