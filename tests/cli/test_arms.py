import pytest
from hydra import compose, initialize_config_dir

from ssl_norm.cli import arms
from ssl_norm.cli.arguments import complaint_about
from ssl_norm.cli.arms import choose_arms, read_study, register_arms
from ssl_norm.cli.entry import register_schemas, typed_config
from ssl_norm.cli.groups import CONFIG_FOLDER, groups_of
from ssl_norm.errors import UserError

ARMS = "contrastive,byol,projection_bn,prediction_bn,none,ln,random"


def composed(*overrides: str):
    register_schemas()
    arguments = choose_arms(list(overrides))
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        return typed_config(compose("pretrain", arguments))


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Return a function that writes configs/study/mine.yaml and reads it."""

    def write(text: str):
        (tmp_path / "study").mkdir(exist_ok=True)
        (tmp_path / "study" / "mine.yaml").write_text(text)
        monkeypatch.setattr(arms, "CONFIG_FOLDER", tmp_path)
        return read_study("mine")

    return write


def test_an_arm_sets_groups_and_values_and_is_named():
    config = composed("study=byol_collapse", "arm=contrastive")
    assert (config.study, config.arm, config.method.name) == (
        "byol_collapse",
        "contrastive",
        "moco_v2",
    )
    assert (config.norm.projector, config.optimizer.lr) == ("none", 0.02)
    assert config.augment == composed("method=moco_v2", "augment=moco_v2_small").augment
    assert not hasattr(config, "arms")


def test_a_study_without_arms_is_named_too():
    config = composed("study=cifar10_heads")
    assert (config.study, config.arm) == ("cifar10_heads", None)


def test_the_command_line_wins_over_an_arm():
    config = composed(
        "study=byol_collapse",
        "arm=contrastive",
        "optimizer.lr=0.3",
        "augment=simclr_small",
        "norm.projector={name: gn, groups: 4}",
    )
    assert config.optimizer.lr == 0.3
    assert config.norm.projector == {"name": "gn", "groups": 4}
    assert config.augment == composed("augment=simclr_small").augment


def test_a_mapping_is_a_norm_of_an_arm():
    config = composed("study=batch_size", "arm=byol_16")
    assert config.norm.encoder == config.norm.predictor == {"name": "bn", "batch_size": 16}


@pytest.mark.parametrize("flag", ["-m", "--multirun"])
def test_a_sweep_runs_all_arms_of_a_seed_before_the_next(flag):
    settings = ["study=byol_collapse", "data.root='/x'"]
    assert choose_arms([*settings, flag]) == [flag, "seed=0,1,2", *settings, f"arm={ARMS}"]


@pytest.mark.parametrize(
    ("typed", "added"),
    [
        (["arm=none,ln"], ["seed=0,1,2"]),
        (["seed=5"], [f"arm={ARMS}"]),
        (["seed=5", "arm=none"], []),
        (["arm=glob(*)", "seed=1"], []),
    ],
)
def test_what_is_typed_is_not_swept(typed, added):
    typed = ["-m", "study=byol_collapse", *typed]
    assert sorted(choose_arms(typed)) == sorted([*typed, *added])


def test_flags_keep_their_values():
    typed = ["study=byol_collapse", "arm=none", "--cfg", "job"]
    assert choose_arms(typed) == ["--cfg", "job", "study=byol_collapse", "arm=none"]


GRID = "labels_per_class=4,10,40,100,500"
FEW = ["study=ubn_few_labels", "data.root=/x"]


def test_a_grid_is_swept_between_seeds_and_arms():
    added = choose_arms(["-m", *FEW], "finetune")
    arms = ",".join(read_study("ubn_few_labels").arms)
    assert added == ["-m", "seed=0,1,2", *FEW, GRID, f"arm={arms}"]


def test_a_value_of_the_grid_that_is_typed_is_not_swept():
    typed = ["-m", *FEW, "arm=ubn", "labels_per_class=4", "seed=7"]
    assert choose_arms(typed, "finetune") == typed


def test_values_of_a_grid_may_be_mappings(written):
    study = written(
        "tool: finetune\ngrid: {norm.encoder: [{name: bn, batch_size: 4}, gn], labels: [0.1, 40]}"
    )
    assert study.grid == {
        "norm.encoder": ("{name: bn, batch_size: 4}", "gn"),
        "labels": ("0.1", "40"),
    }


def test_figures_are_passed_on_and_are_no_settings(written):
    study = written("figures: [{name: a, x: labels}]")
    assert study.figures == ({"name": "a", "x": "labels"},)
    assert list(study.settings) == ["study"]


def test_a_study_belongs_to_one_tool():
    assert "ubn_few_labels" in groups_of("finetune")["study"]
    assert "ubn_few_labels" not in groups_of("pretrain")["study"]
    assert complaint_about("study=ubn_few_labels", "pretrain") == (
        "study=ubn_few_labels is of another tool: python tools/finetune.py -m study=ubn_few_labels"
    )
    assert "tools/pretrain.py" in str(complaint_about("study=byol_collapse", "finetune"))


def test_one_run_of_a_grid_chooses_its_value():
    with pytest.raises(UserError, match=r"has a grid: choose one with labels_per_class=4 \| 10"):
        choose_arms([*FEW, "arm=ubn"], "finetune")


def test_a_single_run_has_its_own_seed():
    typed = ["study=byol_collapse", "arm=none"]
    assert choose_arms(typed) == typed


def test_without_a_study_nothing_is_added():
    assert choose_arms(["-m", "norm.encoder=bn,gn"]) == ["-m", "norm.encoder=bn,gn"]


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["study=byol_collapse"], "has arms: choose one with arm=contrastive | byol"),
        (["study=byol_collapse", "arm=nome"], "unknown arm of study byol_collapse 'nome'"),
        (["study=byol_collapse", "arm=nome"], "did you mean 'none'"),
        (["-m", "study=byol_collapse", "arm=ln,nome"], "'nome'"),
        (["-m", "study=byol_collapse,deep_bn"], "a study with arms is run by itself"),
        (["arm=none"], "arm=none: name its study with study=..."),
        (["study=cifar10_heads", "arm=none"], "study=cifar10_heads has no arms"),
    ],
)
def test_what_cannot_be_is_one_line(typed, message):
    with pytest.raises(UserError) as refused:
        choose_arms(typed)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("arms: [a, b]", "arms are lists of settings by name"),
        ("arms: {a: epochs=3}", "arms are lists of settings by name"),
        ("arms: {a: [epcohs=3]}", "study mine, arm a: unknown key 'epcohs'"),
        ("arms: {a: [epochs]}", "study mine, arm a: cannot read 'epochs'"),
        ("arms: {a: [method=byl]}", "study mine, arm a: unknown method 'byl'"),
        ("seeds: [x]", "study mine: seeds is a list of integers"),
        ("tool: finetun", "unknown tool of study mine 'finetun'; known: pretrain, finetune"),
        ("grid: [4]", "study mine: grid holds lists of values by key"),
        ("grid: {epochs: 4}", "study mine: grid holds lists of values by key"),
        ("grid: {epochs: []}", "study mine: grid holds lists of values by key"),
        ("grid: {epcohs: [1]}", "study mine, grid: unknown key 'epcohs'"),
        ("figures: {name: a}", "study mine: figures is a list of mappings"),
        ("seeds: 3", "study mine: seeds is a list of integers"),
    ],
)
def test_a_study_that_is_wrong_is_one_line(written, text, message):
    with pytest.raises(UserError) as refused:
        written(text)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_value_that_cannot_be_read_names_the_arm(written):
    study = written('arms: {a: ["norm.encoder={name: bn"]}')
    with pytest.raises(
        UserError, match=r"study mine, arm a: cannot read 'norm.encoder=\{name: bn'"
    ):
        register_arms(study)


def test_arms_are_no_group_with_files():
    assert "arm" not in groups_of("pretrain")
