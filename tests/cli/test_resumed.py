from dataclasses import asdict

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from ssl_norm.cli.composed import register_schemas
from ssl_norm.cli.groups import CONFIG_FOLDER
from ssl_norm.cli.resumed import with_its_settings
from ssl_norm.errors import UserError


def composed(tool: str, *typed: str):
    register_schemas()
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        return compose(tool, list(typed))


def made_with(folder, tool: str, *typed: str):
    """Return the settings of a run, and leave its config.yaml."""
    config = OmegaConf.to_object(composed(tool, *typed))
    content = OmegaConf.create({**asdict(config), "environment": {"torch": "2"}})
    OmegaConf.save(content, folder / "config.yaml")
    return config


def goes_on(folder, tool: str, *typed: str):
    typed = (f"run_dir={folder}", "resume=true", *typed)
    return OmegaConf.to_object(with_its_settings(composed(tool, *typed), tool, typed))


def test_another_learner_and_its_settings_come_from_the_run(tmp_path):
    run = made_with(
        tmp_path, "pretrain", "method=moco_v2", "method.queue_size=512",
        "norm.projector={name: gn, groups: 4}", "epochs=7",
    )  # fmt: skip
    run.run_dir, run.resume, run.monitor.patience = str(tmp_path), True, 9
    assert goes_on(tmp_path, "pretrain", "monitor.patience=9") == run


def test_fine_tuning_goes_on_as_it_was_made(tmp_path):
    run = made_with(tmp_path, "finetune", "labels_per_class=4", "evaluation.samples=[7]")
    run.run_dir, run.resume, run.device = str(tmp_path), True, "cpu"
    assert goes_on(tmp_path, "finetune", "device=cpu") == run


def test_settings_that_were_typed_are_taken_as_typed(tmp_path):
    made_with(tmp_path, "pretrain", "epochs=7", "seed=3")
    again = goes_on(tmp_path, "pretrain", "epochs=8", "norm.projector={name: gn, groups: 4}")
    assert (again.epochs, again.seed) == (8, 3)
    assert again.norm.projector == {"name": "gn", "groups": 4}


def test_a_section_is_merged_and_a_norm_replaced(tmp_path):
    made_with(
        tmp_path, "pretrain", "monitor.spectral_every=7", "norm.encoder={name: bn, batch_size: 4}"
    )
    again = goes_on(tmp_path, "pretrain", "monitor={patience: 9}", "norm.encoder={name: gn}")
    assert (again.monitor.patience, again.monitor.spectral_every) == (9, 7)
    assert again.norm.encoder == {"name": "gn"}


def test_a_chosen_file_makes_the_command_count_as_a_whole(tmp_path):
    made_with(tmp_path, "pretrain", "method=moco_v2", "seed=3")
    again = goes_on(tmp_path, "pretrain", "method=moco_v2", "epochs=7")
    assert (again.method.name, again.epochs, again.seed) == ("moco_v2", 7, 0)


def test_a_folder_without_a_run_leaves_the_command_as_it_is(tmp_path):
    assert goes_on(tmp_path, "pretrain").epochs == composed("pretrain").epochs


@pytest.mark.parametrize(
    "content", ["epochs: 3", "{method: {name: byol}, speed: 3}", "{method: {name: dino}}"]
)
def test_a_config_of_another_version_is_one_line(tmp_path, content):
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(
        UserError, match=r"config.yaml is not of tools/pretrain.py of this version: "
    ):
        goes_on(tmp_path, "pretrain")
