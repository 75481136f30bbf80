"""Files of configs/: composition, checks, head comments."""

from pathlib import Path

import pytest

from ssl_norm.settings.compose import compose_settings, groups_of
from ssl_norm.settings.folder import CONFIG_FOLDER

FILES = sorted(CONFIG_FOLDER.rglob("*.yaml"))
OPTIONS = [file for file in FILES if file.parent != CONFIG_FOLDER]


@pytest.mark.parametrize("file", OPTIONS, ids=lambda file: str(file.relative_to(CONFIG_FOLDER)))
def test_head_comment(file: Path):
    lines = file.read_text().splitlines()
    head = [line for line in lines if line.startswith("# ") and not line.startswith("# @")]
    assert head
    for part in ("Question", "Command", "Time", "Expected"):
        assert any(line.startswith(f"# {part}:") for line in head), part


@pytest.mark.parametrize("group", ["method", "data", "encoder", "augment", "study"])
def test_every_option_of_a_group_pretrains(group):
    for option in groups_of("pretrain")[group]:
        compose_settings("pretrain", f"{group}={option}")


@pytest.mark.parametrize("group", ["data", "encoder", "study"])
def test_every_option_of_a_group_fine_tunes(group):
    for option in groups_of("finetune")[group]:
        compose_settings("finetune", f"{group}={option}")


@pytest.mark.parametrize("method", ["byol", "simclr", "moco_v2"])
def test_small_images_get_the_small_augmentation(method):
    small = compose_settings("pretrain", f"method={method}", "data=cifar10").augment
    assert (
        small == compose_settings("pretrain", f"method={method}", f"augment={method}_small").augment
    )
    large = compose_settings("pretrain", f"method={method}", "data=stl10").augment
    assert large == compose_settings("pretrain", f"method={method}", f"augment={method}").augment


def test_command_line_overrides_study():
    config = compose_settings("pretrain", "study=cifar10_heads", "augment=simclr_small", "epochs=1")
    assert config.epochs == 1
    assert config.augment == compose_settings("pretrain", "augment=simclr_small").augment


@pytest.mark.parametrize("tool", ["linear_eval", "population_stats"])
def test_evaluation_composes_with_every_data_file(tool):
    for file in sorted((CONFIG_FOLDER / "data").glob("*.yaml")):
        config = compose_settings(tool, f"data={file.stem}", "checkpoint=x")
        assert config.data.name == file.stem
        assert config.data.image_size is None
