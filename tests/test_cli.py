"""The command line as a user meets it: one line, exit code 2, no traceback, no heavy imports."""

import subprocess
import sys
from pathlib import Path

import pytest

from ssl_norm import cli

ROOT = Path(__file__).resolve().parent.parent

WRONG = {
    "epcohs=3": "did you mean 'epochs'?",
    "+epcohs=3": "did you mean 'epochs'?",
    "--epochs": "settings are given as key=value, for example epochs=...",
    "epochs": "cannot read 'epochs': expected key=value",
    "=3": "cannot read '=3'",
    "~epochs": "cannot read '~epochs'",
    "epochs=x": "epochs: value 'x' of type 'str' could not be converted to Integer",
    "epochs=0": "epochs=0: at least 1 expected",
    "method=byl": "unknown method 'byl'; known: byol, moco_v2, simclr; did you mean 'byol'?",
    "method.temperature=1": "unknown key of method 'temperature'",
    "data=cifer": "did you mean 'cifar10'?",
    "data.name=foldr": "did you mean 'folder'?",
    "data.on_corrupt=skp": "did you mean 'skip'?",
    "data.resident=maybe": "known: auto, true, false",
    "encoder=resnet34": "any other encoder: encoder.name=...",
    "encoder.name=resnet1888": "unknown encoder",
    "norm.encoder=bm": "norm.encoder: unknown norm 'bm'",
    "norm.projector=gn+sw": "did you mean 'gn+ws'?",
    "norm.projector={name: gn, group: 16}": "did you mean 'groups'?",
    "norm.projector={name: gn, groups: 7}": "7 groups do not divide hidden_dim",
    "norm.view_statistics=jont": "did you mean 'joint'?",
    "norm=bn": "norm: ",
    "optimizer.name=sdg": "did you mean 'sgd'?",
    "optimizer.lr=-1": "optimizer.lr=-1: a value above 0 expected",
    "monitor.on_collapse=stpo": "did you mean 'stop'?",
    "monitor.threshold=1.5": "a cosine below 1 expected",
    "precision=fp16": "unknown precision 'fp16'",
    "batch_size=1": "use at least 2",
    "method=moco_v2 method.queue_size=1000": "the nearest is 1024",
    "method=moco_v2 norm.predictor=bn": "moco_v2 has no predictor",
    "method=moco_v2 norm.view_statistics=joint": "method.symmetric=true",
    "method.ema_schedule=cos": "did you mean 'cosine'?",
    "method.projector.layers=0": "at least 1 expected",
    "augment.view1.bluur=1": "did you mean 'blur'?",
    "augment.view1.blur=2": "blur",
    "augment.view1.crop_area=[0.5,0.1]": "crop_area",
    "study=abc": "unknown study 'abc'",
    "data.test_fraction=1": "a fraction in (0, 1) expected",
    "resume=true": "resume=true needs run_dir=...",
}  # fmt: skip


def run_main(monkeypatch, capsys, arguments: list[str], tool: str = "pretrain") -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", [f"{tool}.py", *arguments])
    with pytest.raises(SystemExit) as ending:
        cli.main(tool, "tests.test_cli:never_reached")
    return ending.value.code, capsys.readouterr().err


def never_reached(config: object) -> None:
    raise AssertionError("a wrong configuration reached the task")


@pytest.mark.parametrize("arguments", WRONG)
def test_wrong_input_is_one_line_and_exit_code_2(monkeypatch, capsys, arguments):
    split = [arguments] if arguments.startswith("norm.") else arguments.split(" ")
    code, printed = run_main(monkeypatch, capsys, split)
    assert code == 2
    assert len(printed.strip().splitlines()) == 1
    assert WRONG[arguments] in printed


def test_batch_that_ranks_cannot_share(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "3")
    code, printed = run_main(monkeypatch, capsys, [])
    assert (code, printed) == (2, "error: batch_size=128 cannot be shared equally by 3 processes\n")


def test_errors_and_help_need_no_torch():
    script = (
        "import sys; sys.argv = ['pretrain.py', sys.argv[1]]\n"
        "from ssl_norm.cli import main\n"
        "try: main('pretrain', 'none:none')\n"
        "finally: assert not {'torch', 'numpy', 'timm'} & set(sys.modules), 'heavy import'"
    )
    for argument, code in (("--help", 0), ("norm.encoder=bm", 2), ("encoder.name=nope", 2)):
        ended = subprocess.run(
            [sys.executable, "-c", script, argument], capture_output=True, text=True, cwd=ROOT
        )
        assert ended.returncode == code, ended.stderr


def test_help_names_every_group_and_key(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["pretrain.py", "--help"])
    with pytest.raises(SystemExit) as ending:
        cli.main("pretrain", "none:none")
    text = capsys.readouterr().out
    assert ending.value.code == 0
    for expected in (
        "method = byol | moco_v2 | simclr",
        "norm.view_statistics=separate",
        "method.queue_size=4096",
    ):
        assert expected in text


@pytest.mark.parametrize(
    ("typed", "passed_on"),
    [
        ("data.root=/a b/c (1), d", "data.root='/a b/c (1), d'"),
        ("data.root='/a b'", "data.root='/a b'"),
        ("run_dir=null", "run_dir=null"),
        ("epochs=3", "epochs=3"),
    ],
)
def test_paths_are_taken_literally(typed, passed_on):
    assert cli.literal_path(typed) == passed_on
