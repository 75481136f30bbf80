"""Files of studies: their content, and refusals."""

import pickle

import pytest

from ssl_norm.cli.arms import choose_arms
from ssl_norm.errors import UserError
from ssl_norm.settings import compose, folder
from ssl_norm.settings.compose import choices, compose_settings, started
from ssl_norm.settings.study import read_study, study_tools

CACHES = (read_study, study_tools)


@pytest.fixture
def write_study(tmp_path, monkeypatch):
    """Return a function that writes mine.yaml in a folder of studies and reads it."""
    monkeypatch.setattr(folder, "_FOLDERS", [tmp_path, folder.CONFIG_FOLDER])

    def write(text: str):
        (tmp_path / "study").mkdir(exist_ok=True)
        (tmp_path / "study" / "mine.yaml").write_text(text)
        for cached in CACHES:
            cached.cache_clear()
        return read_study("mine")

    yield write
    for cached in CACHES:
        cached.cache_clear()


def test_an_arm_sets_groups_and_values_and_is_named():
    settings = compose_settings("pretrain", "study=byol_collapse", "arm=contrastive")
    assert (settings.study, settings.arm) == ("byol_collapse", "contrastive")
    assert settings.method.name == "moco_v2"
    assert (str(settings.norm.projector), settings.optimizer.lr) == ("none", 0.02)
    small = compose_settings("pretrain", "method=moco_v2", "augment=moco_v2_small")
    assert settings.augment == small.augment
    assert not {"arms", "seeds", "grid", "figures"} & set(settings.model_dump())
    without_arms = compose_settings("pretrain", "study=cifar10_heads", "epochs=1")
    assert (without_arms.study, without_arms.arm, without_arms.epochs) == ("cifar10_heads", None, 1)


def test_the_command_line_wins_over_an_arm():
    settings = compose_settings(
        "pretrain", "study=byol_collapse", "arm=contrastive", "optimizer.lr=0.3",
        "augment=simclr_small", "norm.projector={name: gn, groups: 4}",
    )  # fmt: skip
    assert (settings.optimizer.lr, str(settings.norm.projector)) == (0.3, "gn(groups=4)")
    assert settings.augment == compose_settings("pretrain", "augment=simclr_small").augment


def test_a_mapping_is_a_norm_of_an_arm():
    norm = compose_settings("pretrain", "study=batch_size", "arm=byol_16").norm
    assert str(norm.encoder) == str(norm.predictor) == "bn(batch_size=16)"


def test_a_grid_holds_values_as_they_are_typed(write_study):
    study = write_study(
        "tool: finetune\ngrid: {norm.encoder: [{name: bn, batch_size: 4}, gn], labels: [0.1, 40]}"
    )
    assert study.typed_grid == {
        "norm.encoder": ["{name: bn, batch_size: 4}", "gn"],
        "labels": ["0.1", "40"],
    }


def test_figures_are_no_settings_of_a_run(write_study):
    study = write_study("figures: [{name: a, x: labels}]\nepochs: 3")
    assert study.figures == [{"name": "a", "x": "labels"}]
    assert study.settings == {"epochs": 3, "study": "mine"}


def test_a_study_belongs_to_one_tool(write_study):
    write_study("tool: finetune")
    assert {"mine", "ubn_few_labels"} <= set(choices("study", "finetune"))
    assert not {"mine", "ubn_few_labels"} & set(choices("study", "pretrain"))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("arms: [a, b]", "arms: a mapping"),
        ("arms: {a: epochs=3}", "arms.a=epochs=3: a list"),
        ("arms: {a: [epcohs=3]}", "arm a: unknown key 'epcohs'"),
        ("arms: {a: [epochs]}", "arm a: cannot read 'epochs'"),
        ("arms: {a: [method=byl]}", "arm a: unknown method 'byl'"),
        ("arms: {a: [3]}", "arms.a[0]=3: text"),
        ("seeds: [x]", "seeds[0]=x: an integer"),
        ("seeds: 3", "seeds=3: a list"),
        ("tool: finetun", "unknown tool 'finetun'; known: pretrain, finetune"),
        ("grid: [4]", "grid: a mapping"),
        ("grid: {epochs: 4}", "grid.epochs=4: a list"),
        ("grid: {epochs: []}", "grid.epochs: "),
        ("grid: {epcohs: [1]}", "grid: unknown key 'epcohs'"),
        ("figures: {name: a}", "figures: a list"),
    ],
)
def test_wrong_studies_are_one_line(write_study, text, named):
    def start():
        write_study(text)
        choose_arms(["study=mine", "arm=a"], "pretrain", sweep=True)

    with pytest.raises(UserError) as caught:
        start()
    line = str(caught.value)
    assert line.startswith("study mine")
    assert named in line
    assert "\n" not in line


def test_a_value_that_cannot_be_read_names_the_arm(write_study):
    write_study('arms: {a: ["norm.encoder={name: bn"]}')
    with pytest.raises(UserError, match=r"study mine, arm a: .*'norm.encoder=\{name: bn'"):
        compose_settings("pretrain", "study=mine", "arm=a")


def test_a_process_of_a_launcher_has_the_arms_and_the_folders(write_study, tmp_path, monkeypatch):
    write_study("arms: {a: [epochs=3]}")
    with started("pretrain", ["study=mine"]) as hydra:
        sent = pickle.dumps(hydra.config_loader.repository.sources)
    monkeypatch.setattr(folder, "_FOLDERS", [folder.CONFIG_FOLDER])
    monkeypatch.setattr(compose, "_with_arms", [])
    source = next(s for s in pickle.loads(sent) if s.scheme() == "ssl_norm")
    assert source.load_config("arm/a").config.epochs == 3
    assert folder.added_folders() == [tmp_path]
