"""Tools as Python functions, and the names at the top of the package."""

import subprocess
import sys
from functools import partial
from importlib import import_module
from pathlib import Path
from random import Random

import pytest
from torch import nn

import ssl_norm
from ssl_norm.api import settings_of
from ssl_norm.cli import entry
from ssl_norm.cli.command import typed_lines
from ssl_norm.errors import UserError
from ssl_norm.option_errors import annotation_of
from ssl_norm.text import as_typed
from ssl_norm.train.run_folder import RunFolder
from tests.settings.refusals import START
from tests.settings.test_ranges import SETTINGS, ends
from tests.tool import run as run_tool


class OwnNorm(nn.BatchNorm2d):
    """A norm of the user."""


SAME = [
    ("pretrain", {"study": "byol_collapse", "arm": "none", "data": {"root": "photos"}},
     "study=byol_collapse arm=none data.root=photos"),
    ("pretrain", {"study": "byol_collapse", "arm": "foo"}, "study=byol_collapse arm=foo"),
    ("pretrain", {"study": "byol_collapse"}, "study=byol_collapse"),
    ("pretrain", {"study": "cifar10_heads", "arm": None}, "study=cifar10_heads"),
    ("pretrain", {"arm": "none"}, "arm=none"),
    ("pretrain", {"data": {"name": "folder", "root": Path("photos")}}, "data=folder data.root=photos"),
    ("pretrain", {"data": {"name": "folder"}}, "data={name:folder}"),
    ("pretrain", {"data": "cifer"}, "data=cifer"),
    ("pretrain", {"data": {"name": "cifer"}}, "data=cifer"),
    ("pretrain", {"data.name": "folder"}, "data.name=folder"),
    ("pretrain", {"data": "a(b)"}, "data=a(b)"),
    ("pretrain", {"data": "digits,cifar10"}, "data=digits,cifar10"),
    ("pretrain", {"method": {"name": "simclr"}}, "method=simclr"),
    ("pretrain", {"method": "moco_v2", "norm.encoder": "gn"}, "method=moco_v2 norm.encoder=gn"),
    ("pretrain", {"method": {"ema_decay": 0.5, "projector.layers": 3}},
     "method.ema_decay=0.5 method.projector.layers=3"),
    ("pretrain", {"encoder": {"name": "resnet50"}}, "encoder.name=resnet50"),
    ("pretrain", {"encoder": "resnet50"}, "encoder=resnet50"),
    ("pretrain", {"norm": {"encoder": {"name": "gn", "groups": 4}}},
     "norm.encoder={name: gn, groups: 4}"),
    ("pretrain", {"norm": "bn"}, "norm=bn"),
    ("pretrain", {"loggers": ()}, "loggers=[]"),
    ("pretrain", {"run_dir": "it's (1), $x [2] {a: b}"}, "run_dir=it's (1), $x [2] {a: b}"),
    ("pretrain", {"optimizer": {"lr": 1e-4, "name": "adamw", "betas": [0.9, 0.99]}},
     "optimizer.lr=0.0001 optimizer.name=adamw optimizer.betas=[0.9,0.99]"),
    ("pretrain", {"epoch": 3}, "epoch=3"),
    ("finetune", {"study": "ubn_few_labels", "arm": "ubn", "labels_per_class": 4, "data.root": "x"},
     "study=ubn_few_labels arm=ubn labels_per_class=4 data.root=x"),
    ("finetune", {"evaluation": {"corruptions": [{"name": "contrast", "severity": 5}]}},
     "evaluation.corruptions=[{name: contrast, severity: 5}]"),
    ("linear_eval", {"checkpoint": Path("a b"), "data": {"name": "cifar10"}, "knn": {"k": 5}},
     "checkpoint=a b|data=cifar10|knn.k=5"),
    ("report", {"runs": ["a", "b"], "title": "50 %, {x}"}, "runs=[a,b]|title=50 %, {x}"),
]  # fmt: skip


def typed(monkeypatch, tool, arguments):
    """Return the settings that a command line composes, or its message."""
    given = []
    monkeypatch.setattr(entry, "load_object", lambda _: lambda settings: given.append(settings))
    _, _, error = run_tool(tool, *arguments)
    return given[0] if given else error.removeprefix("error: ").strip()


def called(tool, settings):
    try:
        return settings_of(tool, settings)
    except UserError as error:
        return str(error)


@pytest.mark.parametrize(("tool", "settings", "line"), SAME)
def test_keywords_compose_as_the_command_line_does(monkeypatch, tool, settings, line):
    is_one = ("{" in line and "|" not in line) or "(" in line
    arguments = [line] if is_one else line.split("|" if "|" in line else " ")
    assert called(tool, settings) == typed(monkeypatch, tool, arguments)


CHANCE = Random(0)
LEAVES = [
    (tool, key, value)
    for tool in ("pretrain", "finetune", "linear_eval", "toy")
    for key, field in CHANCE.sample(sorted(SETTINGS[tool].items()), 4)
    for value in (*list(ends(annotation_of(field)))[:1], True, None, "a: b", [1, "x"], {"k": 0.5})
]


@pytest.mark.parametrize(("tool", "key", "value"), CHANCE.sample(LEAVES, 24))
def test_any_value_of_any_key_composes_as_the_command_line_does(monkeypatch, tool, key, value):
    start = START.get(tool, {})
    lines = [*typed_lines(tool, start), f"{key}={as_typed(value, repr)}"]
    assert called(tool, {**start, key: value}) == typed(monkeypatch, tool, lines)


@pytest.mark.parametrize(
    "value", [lambda c: None, partial(OwnNorm), OwnNorm(3), object(), {1, 2}, b"x"]
)
@pytest.mark.parametrize("key", ["norm.encoder", "data", "method", "loggers", "epochs", "run_dir"])
def test_a_value_that_no_command_line_has_is_one_line_with_its_key(key, value):
    with pytest.raises(UserError, match=f"^{key}: a plain value expected") as raised:
        settings_of("pretrain", {key: value})
    assert "\n" not in str(raised.value)


def test_one_setting_of_a_section_keeps_the_others():
    given = settings_of("pretrain", {"method": {"ema_decay": 0.5}, "norm": {"projector": "ln"}})
    assert given.method.name == "byol"
    assert (given.method.ema_decay, given.method.projector.hidden_dim) == (0.5, 256)
    assert [str(given.norm.encoder), str(given.norm.projector)] == ["bn", "ln"]


def test_classes_are_taken_as_names_of_their_modules():
    given = settings_of("pretrain", {"norm": {"encoder": OwnNorm}})
    assert given.norm.encoder.cls is OwnNorm
    assert given.model_dump(mode="json")["norm"]["encoder"] == f"{__name__}:OwnNorm"


def test_results_of_the_tools(tmp_path, capsys):
    run = ssl_norm.pretrain(
        epochs=1, batch_size=16, data={"limit": 32}, encoder={"name": "tiny16"},
        run_dir=tmp_path / "run", linear_probe=False, device="cpu", loggers=(),
    )  # fmt: skip
    assert (run.folder, run.ended, run.verdict) == (tmp_path / "run", "done", "uncertain")
    assert run.summary == RunFolder(run.folder).json("summary.json")
    found = ssl_norm.diagnose(checkpoint=run.folder, samples=32, random_init=False, device="cpu")
    assert found.record["step"] == 2
    import_module("ssl_norm.reporting.page")
    assert ssl_norm.report(runs=str(run.folder)) == run.folder / "report"
    assert "written to" in capsys.readouterr().out


def test_importing_the_package_needs_no_torch():
    code = "import sys, ssl_norm; from ssl_norm import pretrain; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert {"CollapseMonitor", "make_norm", "replace_norms"} <= set(ssl_norm.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        ssl_norm.nothing  # noqa: B018
