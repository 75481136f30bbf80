"""Files of configs/: composition, checks, head comments."""

from pathlib import Path

import pytest

from ssl_norm.settings.compose import compose_settings, groups_of
from ssl_norm.settings.folder import CONFIG_FOLDER
from ssl_norm.settings.study import read_study

FILES = sorted(CONFIG_FOLDER.rglob("*.yaml"))
OPTIONS = [file for file in FILES if file.parent != CONFIG_FOLDER]


@pytest.mark.parametrize("file", OPTIONS, ids=lambda file: str(file.relative_to(CONFIG_FOLDER)))
def test_head_comment(file: Path):
    lines = file.read_text().splitlines()
    head = [line for line in lines if line.startswith("# ") and not line.startswith("# @")]
    assert head
    for part in ("Question", "Command", "Time", "Expected"):
        assert any(line.startswith(f"# {part}:") for line in head), part


@pytest.mark.parametrize("tool", ["pretrain", "finetune"])
def test_every_option_of_every_group_composes(tool):
    """Options of different groups are composed together; arms of studies have their own tests."""
    groups = {name: list(options) for name, options in groups_of(tool).items()}
    without_arms = [name for name in groups.pop("study") if not read_study(name).arms]
    for study in without_arms:
        compose_settings(tool, f"study={study}")
    for number in range(max(map(len, groups.values()))):
        compose_settings(tool, *(f"{name}={of[number % len(of)]}" for name, of in groups.items()))


@pytest.mark.parametrize("method", ["byol", "simclr", "moco_v2"])
def test_small_images_get_the_small_augmentation(method):
    small = compose_settings("pretrain", f"method={method}", "data=cifar10").augment
    assert small == compose_settings("pretrain", f"augment={method}_small").augment
    large = compose_settings("pretrain", f"method={method}", "data=stl10").augment
    assert large == compose_settings("pretrain", f"augment={method}").augment


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
