"""Settings of a resumed run: those in its folder and those of the command."""

import pytest
from omegaconf import OmegaConf

from ssl_norm.cli.resume import continued
from ssl_norm.errors import UserError
from ssl_norm.settings.models import MODELS, validate
from ssl_norm.settings.resume import differences, may_change_on_resume, restore
from tests.settings.refusals import accept, typed_values

MOCO = "method.name=moco_v2 norm.predictor=none"


def write_run(folder, tool: str, typed: str):
    """Write config.yaml of a run with these settings, and return them."""
    settings = accept(tool, typed)
    content = {**settings.model_dump(mode="json"), "environment": {"torch": "2"}}
    OmegaConf.save(OmegaConf.create(content), folder / "config.yaml")
    return settings


def resumed(folder, tool: str, *typed: str):
    """Return the settings with which a command continues the run of a folder."""
    typed = (f"run_dir={folder}", "resume=true", *typed)
    known = " ".join(setting for setting in typed if not setting.startswith("method="))
    return validate(tool, continued(typed_values(tool, known), tool, typed))


def test_learner_and_settings_are_those_of_the_run(tmp_path):
    typed = f"{MOCO} method.queue_size=512 norm.projector={{name: gn, groups: 4}} epochs=7"
    run = write_run(tmp_path, "pretrain", typed)
    again = resumed(tmp_path, "pretrain", "monitor.patience=9")
    assert (again.method, again.norm, again.epochs) == (run.method, run.norm, 7)
    assert (again.monitor.patience, again.run_dir, again.resume) == (9, str(tmp_path), True)


def test_fine_tuning_resumes_with_its_settings(tmp_path):
    run = write_run(tmp_path, "finetune", "labels_per_class=4 evaluation.samples=[7]")
    again = resumed(tmp_path, "finetune", "device=cpu")
    changed = {"device", "run_dir", "resume"}
    assert again.device == "cpu"
    assert again.model_dump(exclude=changed) == run.model_dump(exclude=changed)


def test_typed_settings_win_over_those_of_the_run(tmp_path):
    write_run(tmp_path, "pretrain", "epochs=7 seed=3 norm.projector={name: bn, batch_size: 4}")
    again = resumed(
        tmp_path, "pretrain", "epochs=8", "norm.projector={name: gn, groups: 4}",
        "monitor={patience: 9}",
    )  # fmt: skip
    assert (again.epochs, again.seed, str(again.norm.projector)) == (8, 3, "gn(groups=4)")
    assert (again.monitor.patience, again.monitor.log_every) == (9, 10)


def test_a_typed_group_makes_the_command_count_as_a_whole(tmp_path):
    write_run(tmp_path, "pretrain", f"{MOCO} seed=3")
    again = resumed(tmp_path, "pretrain", "method=byol", "epochs=7")
    assert (again.method.name, again.epochs, again.seed) == ("byol", 7, 0)


def test_a_folder_without_a_run_leaves_the_command_as_it_is(tmp_path):
    assert resumed(tmp_path, "pretrain", "epochs=7").epochs == 7


def test_a_folder_without_a_run_is_not_resumed_with_the_default_settings(tmp_path):
    with pytest.raises(UserError, match="contains no run to resume"):
        resumed(tmp_path, "pretrain")


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("epochs: 3", "method"),
        ("{method: {name: byol}, speed: 3}", "'speed'"),
        ("{method: {name: dino}}", "'dino'"),
        ("{method: {name: byol}, epochs: 0}", "epochs=0"),
    ],
)
def test_a_config_of_another_version_is_one_line(tmp_path, content, named):
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(
        UserError, match=r"config.yaml was not written by this version of tools/pretrain.py"
    ) as caught:
        resumed(tmp_path, "pretrain")
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_keys_of_sections_without_effect_on_weights_are_left_out():
    saved = {"method": {"name": "byol"}, "monitor": {"patience": 3, "old": 1}, "environment": {}}
    assert restore("pretrain", saved).monitor.patience == 3
    with pytest.raises(UserError, match="norm has no key 'old'"):
        restore("pretrain", {**saved, "norm": {"old": 1}})


def test_a_saved_run_loads_without_the_files_it_started_from():
    assert restore("finetune", {"checkpoint": "/gone/last.pt", "resume": True}).steps == 1000


def test_differences_name_the_keys_that_may_not_change():
    model, saved = MODELS["pretrain"], accept("pretrain", "").model_dump(mode="json")
    typed = (
        "epochs=7 norm.encoder=gn method.ema_decay=0.5 monitor.patience=3 device=cpu "
        "data.root=/x data.workers=0 loggers=[] linear_probe=false keep_every=1 checkpoint_every=1"
    )
    given = accept("pretrain", typed).model_dump(mode="json")
    found = {key: (old, new) for key, old, new in differences(model, saved, given)}
    assert found == {
        "epochs": (20, 7),
        "norm.encoder": ("bn", "gn"),
        "method.ema_decay": (saved["method"]["ema_decay"], 0.5),
    }


@pytest.mark.parametrize("now", ["separate", "joint"])
def test_a_key_that_is_newer_than_the_run_had_its_default(now):
    saved, given = (
        accept("pretrain", f"norm.view_statistics={value}").model_dump(mode="json")
        for value in ("separate", now)
    )
    del saved["norm"]["view_statistics"]
    found = [] if now == "separate" else [("norm.view_statistics", "separate", "joint")]
    assert differences(MODELS["pretrain"], saved, given) == found


def test_a_section_that_may_change_changes_as_a_whole():
    assert may_change_on_resume("pretrain", "monitor.patience")
    assert may_change_on_resume("finetune", "evaluation.samples")
    assert not may_change_on_resume("pretrain", "data.limit")
    assert not may_change_on_resume("pretrain", "unknown.key")
