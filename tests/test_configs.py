"""Files of configs/: composition, checks, head comments."""

from pathlib import Path

import pytest

from ssl_norm.errors import UserError
from ssl_norm.settings import folder
from ssl_norm.settings.compose import choices, compose_settings, groups_of
from ssl_norm.settings.folder import CONFIG_FOLDER
from ssl_norm.settings.study import read_study, study_tools

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _no_cached_studies():
    yield
    read_study.cache_clear()
    study_tools.cache_clear()


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
    groups = {name: choices(name, tool) for name in groups_of(tool)}
    without_arms = [name for name in groups.pop("study") if not read_study(name).arms]
    for study in without_arms:
        compose_settings(tool, f"study={study}")
    for number in range(max(map(len, groups.values()))):
        compose_settings(tool, *(f"{name}={of[number % len(of)]}" for name, of in groups.items()))


@pytest.mark.parametrize("method", ["byol", "moco_v2"])
def test_small_images_get_the_small_augmentation(method):
    small = compose_settings("pretrain", f"method={method}", "data=cifar10").augment
    assert small == compose_settings("pretrain", f"augment={method}_small").augment
    large = compose_settings("pretrain", f"method={method}", "data=stl10").augment
    assert large == compose_settings("pretrain", f"augment={method}").augment


@pytest.mark.parametrize("tool", ["linear_eval", "population_stats"])
def test_evaluation_composes_with_every_data_file(tool):
    for file in sorted((CONFIG_FOLDER / "data").glob("*.yaml")):
        config = compose_settings(tool, f"data={file.stem}", "checkpoint=x")
        assert config.data.name == file.stem
        assert config.data.image_size is None


BROKEN = {
    "- a": "line 1: a mapping expected",
    "text": "line 1: a mapping expected",
    "a: 1\nb: {": "line 2: ",
    "a: 1\n\tb: 2": "line 2: ",
    "a: 1\nb: \xff": "line 2: text in UTF-8 expected",
    "a: 1\na: 2": "line 2: found duplicate key a",
}
WRONG_SECTIONS = {
    ("method", "method: {name: simclr}\nviews: 3"): "line 2: views: a mapping",
    ("method", "method: {name: simclr}\nviews:\n  full: 3"): "line 3: views.full: a mapping",
    ("method", "recipes: [3]"): "line 1: recipes: a mapping",
    ("method", "method: byol"): "line 1: method: a mapping",
    ("data", "name: digits\nviews: 3"): "line 2: views: a mapping",
}
FILES_WITH_FAULTS = [("study", text, line) for text, line in BROKEN.items()]
FILES_WITH_FAULTS += [(group, "- a", BROKEN["- a"]) for group in ("method", "data", "encoder")]
FILES_WITH_FAULTS += [(*place, line) for place, line in WRONG_SECTIONS.items()]


@pytest.fixture
def own(monkeypatch, tmp_path):
    """Return a folder of the user's own files, and a function that writes one."""
    monkeypatch.setattr(folder, "_FOLDERS", [tmp_path, CONFIG_FOLDER])
    read_study.cache_clear()
    study_tools.cache_clear()

    def write(name: str, text: str) -> Path:
        path = tmp_path / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode("latin-1"))
        return path

    return write


def test_a_broken_file_is_one_line_where_it_is_used_and_nothing_elsewhere(own):
    paths = [
        own(f"{group}/mine{number}", text)
        for number, (group, text, _) in enumerate(FILES_WITH_FAULTS)
    ]
    assert compose_settings("pretrain").method.name == "byol"
    for path, (group, text, line) in zip(paths, FILES_WITH_FAULTS, strict=True):
        assert path.stem in choices(group)
        with pytest.raises(UserError) as caught:
            compose_settings("pretrain", f"{group}={path.stem}")
        assert str(caught.value).startswith(f"{path}: {line}"), text
        assert "\n" not in str(caught.value)


def test_a_learner_whose_name_begins_with_that_of_another_has_its_own_recipe(own):
    for number, name in enumerate(("mine", "mine_too"), start=3):
        text = f"# @package _global_\nmethod: {{name: byol}}\nrecipes: {{digits: {{epochs: {number}}}}}"
        own(f"method/{name}", text)
    found = {
        name: compose_settings("pretrain", f"method={name}").epochs for name in ("mine", "mine_too")
    }
    assert found == {"mine": 3, "mine_too": 4}


@pytest.mark.parametrize("name", ["method/byol", "data/digits"])
def test_a_broken_file_of_a_default_is_used(own, name):
    path = own(name, "- a")
    with pytest.raises(UserError, match=f"^{path}: line 1: a mapping expected"):
        compose_settings("pretrain")


@pytest.mark.parametrize(("line", "tool"), [("tool: 'finetune'", "finetune"), ("", "pretrain")])
def test_the_tool_of_a_study_is_read_as_yaml(own, line, tool):
    own("study/mine", f"# a tool\n{line}\nseeds: [1]\n")
    assert study_tools()["mine"] == tool


def test_a_file_that_would_replace_that_of_the_tool_is_refused(own):
    own("pretrain", "epochs: 3")
    with pytest.raises(UserError, match=r"pretrain\.yaml would replace"):
        compose_settings("pretrain")
    assert compose_settings("linear_eval", "checkpoint=x")


LEARNER = """
from torch import nn

from ssl_norm.learners.learner import Learner


class WithoutPredictor(Learner):
    def __init__(self, encoder: nn.Module, projector: nn.Module) -> None:
        super().__init__()

    def forward(self, view1, view2): ...


class WithPredictor(WithoutPredictor):
    def __init__(self, encoder: nn.Module, projector: nn.Module, predictor: nn.Module) -> None:
        super().__init__(encoder, projector)
"""


@pytest.mark.parametrize(
    ("learner", "settings", "norm"),
    [
        ("WithoutPredictor", [], "none"),
        ("WithPredictor", [], "bn"),
        ("WithPredictor", ["norm.predictor=ln"], "ln"),
        ("WithoutPredictor", ["norm.predictor=bn"], None),
    ],
)
def test_the_norm_of_a_predictor_that_a_learner_without_a_file_may_lack(
    monkeypatch, tmp_path, learner, settings, norm
):
    (tmp_path / "learners_from_outside.py").write_text(LEARNER)
    monkeypatch.syspath_prepend(tmp_path)
    settings = [f"method=learners_from_outside:{learner}", *settings]
    if norm is None:
        with pytest.raises(UserError, match="WithoutPredictor has no predictor; set it to none"):
            compose_settings("pretrain", *settings)
    else:
        assert str(compose_settings("pretrain", *settings).norm.predictor) == norm
