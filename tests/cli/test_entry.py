"""The command line as a user meets it: one line, exit code 2, no traceback, no heavy imports."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ssl_norm.cli import entry
from ssl_norm.cli.help import USAGE, help_text

ROOT = Path(__file__).resolve().parents[2]

LAST_OF_TWO = {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "here", "MASTER_PORT": "29500"}
WRONG = {
    # the form of an argument
    "epcohs=3": "did you mean 'epochs'?",
    "+epcohs=3": "did you mean 'epochs'?",
    "++epcohs=3": "did you mean 'epochs'?",
    "--epochs": "settings are given as key=value, for example epochs=...",
    "--config-dir=/x": "unknown flag '--config-dir'",
    "epochs": "cannot read 'epochs': expected key=value",
    "epochs==3": "cannot read 'epochs==3'",
    "=3": "cannot read '=3'",
    "~epochs": "cannot read '~epochs'",
    "epochs=1,2": "epochs=1,2: one value expected; a list stands in [ ], a sweep needs -m",
    "a.b=3": "unknown key 'a'",
    "tool=x": "unknown key 'tool'",
    "schema=3": "unknown key 'schema'",
    "recipe=byol_digits": "unknown key 'recipe'",
    "hydra.foo=3": "unknown key of hydra 'foo'",
    "augment.mean=0.5,0.5,0.5": "a list stands in [ ]",
    "data.root=${x}": "data.root: interpolation key 'x' not found",
    # types
    "epochs=x": "epochs: value 'x' of type 'str' could not be converted to Integer",
    "epochs=null": "epochs: a value expected, got null",
    "epochs=": "epochs: value ''",
    "batch_size=1.5": "batch_size: value '1.5'",
    "resume=maybe": "resume: value 'maybe' is not a valid bool",
    "data.limit=1e3": "data.limit: value '1000.0'",
    "monitor=3": "monitor: holds the keys log_every, spectral_every, buffer_size, layers_every, on_collapse, patience",
    "optimizer=sgd": "set them as optimizer.name=...",
    "norm=bn": "norm: holds the keys encoder, projector, predictor, view_statistics",
    "method.projector=3": "method.projector: ",
    "augment.view1=null": "augment.view1: a value expected, got null",
    "optimizer.betas=0.9": "optimizer.betas: a list expected, in brackets: optimizer.betas=[...]",
    "optimizer.betas=[a,b]": "optimizer.betas[0]: value 'a'",
    # groups
    "method=byl": "unknown method 'byl'; known: byol, moco_v2, simclr; did you mean 'byol'?",
    "method=null": "unknown method 'null'; known: byol, moco_v2, simclr",
    "method=3": "unknown method '3'; known: byol, moco_v2, simclr",
    "method=": "unknown method ''; known: byol, moco_v2, simclr",
    "method.name=simclr": "method.name=simclr under the keys of byol: use method=simclr",
    "method.name=x": "use method=byol or method=simclr or method=moco_v2",
    "method.temperature=1": "unknown key of method 'temperature'",
    "data=cifer": "did you mean 'cifar10'?",
    "data=null": "unknown data 'null'; known: cifar10, digits, folder, stl10",
    "data=3": "unknown data '3'; known: cifar10, digits, folder, stl10",
    "data=[digits,cifar10]": "unknown data '[digits'; known",
    "-m data=digits,cifer": "unknown data 'cifer'",
    "encoder=null": "unknown encoder 'null'; known: ",
    "encoder=3": "unknown encoder '3'; known: ",
    "encoder=resnet34": "any other encoder: encoder.name=...",
    "augment=null": "unknown augment 'null'",
    "study=abc": "unknown study 'abc'",
    "study=null": "unknown study 'null'; known: ",
    # nested keys
    "augment.view1.bluur=1": "did you mean 'blur'?",
    "method=simclr method.predictor.layers=1": "unknown key of method 'predictor'",
    # a value of each kind; tests/test_checks.py has the others
    "epochs=0": "epochs=0: an integer of at least 1 expected",
    "norm.encoder=bm": "norm.encoder: unknown norm 'bm'",
    "encoder.name=resnet1888": "unknown encoder",
    "data.root=": "data.root is empty; name the folder",
}  # fmt: skip
WRONG_EVALUATION = {
    "checkpoint=null": "checkpoint: a value expected, got null",
    "data=null": "unknown data 'null'; known: cifar10, digits, folder, stl10",
    "data.limit=5": "unknown key of data 'limit'",
    "data.resident=true": "unknown key of data 'resident'",
    "method=byol": "unknown key 'method'",
    "study=cifar10_heads": "unknown key 'study'",
    "epochs=3": "unknown key 'epochs'",
    "augment=byol": "augment: holds the keys mean, std; set them as augment.mean=...",
    "norm.projector=bn": "unknown key of norm 'projector'",
    "labels=nan": "labels=nan: a number in (0, 1] expected",
}  # fmt: skip


def run_main(monkeypatch, capsys, arguments: list[str], tool: str = "pretrain") -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", [f"{tool}.py", *arguments])
    with pytest.raises(SystemExit) as ending:
        entry.main(tool, "tests.cli.test_entry:nothing")
    return ending.value.code, capsys.readouterr().err


def nothing(config: object) -> None:
    """Stand for the task of a configuration that passed all checks."""


def split(arguments: str) -> list[str]:
    return [arguments] if "{" in arguments else arguments.split(" ")


def assert_refused(ended: tuple[int, str], message: str):
    code, printed = ended
    assert code == 2
    assert len(printed.strip().splitlines()) == 1
    assert message in printed


@pytest.mark.parametrize("arguments", WRONG)
def test_wrong_input_is_one_line_and_exit_code_2(monkeypatch, capsys, arguments):
    assert_refused(run_main(monkeypatch, capsys, split(arguments)), WRONG[arguments])


@pytest.mark.parametrize("arguments", WRONG_EVALUATION)
def test_wrong_input_of_linear_eval(monkeypatch, capsys, arguments):
    given = ["checkpoint=x", *split(arguments)]
    ended = run_main(monkeypatch, capsys, given, "linear_eval")
    assert_refused(ended, WRONG_EVALUATION[arguments])


def test_the_first_process_speaks_for_all(monkeypatch, capsys):
    for name, value in LAST_OF_TWO.items():
        monkeypatch.setenv(name, value)
    assert run_main(monkeypatch, capsys, ["epochs=0"]) == (2, "")


def test_right_input_reaches_the_task(monkeypatch, capsys):
    assert run_main(monkeypatch, capsys, ["norm.encoder=gn+ws", "epochs=1"]) == (0, "")


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
        entry.main("pretrain", "none:none")
    text = capsys.readouterr().out
    assert ending.value.code == 0
    for expected in (
        "method = byol | moco_v2 | simclr",
        "norm.view_statistics=separate",
        "method.queue_size=4096",
        "null: digits 16, cifar10 32",
    ):
        assert expected in text
    assert "recipe = " not in text
    assert "method.name" not in text


def test_help_shows_what_the_plain_command_runs_with():
    lines = {line.split()[0]: line for line in help_text("pretrain").splitlines() if line.strip()}
    assert {"epochs=13", "optimizer.lr=1.6", "method.ema_decay=0.98"} <= set(lines)
    assert "augment.view.flip=0.0" in help_text("finetune")


@pytest.mark.parametrize("tool", USAGE)
def test_help_gives_every_key_a_meaning(tool):
    keys = help_text(tool).partition("\nKeys")[2]
    settings = [line for line in keys.splitlines() if re.match(r"  [\w.]+=", line)]
    assert settings
    assert [line for line in settings if not re.match(r"  [\w.]+=(\[.*?\]|\S+) +\S", line)] == []


def test_help_of_linear_eval_has_its_own_groups_only(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["linear_eval.py", "-h"])
    with pytest.raises(SystemExit):
        entry.main("linear_eval", "none:none")
    text = capsys.readouterr().out
    assert "data = cifar10 |" in text
    assert "null: as the checkpoint says" in text
    assert not any(f"  {group} = " in text for group in ("method", "augment", "study", "recipe"))


@pytest.mark.parametrize(
    ("typed", "passed_on"),
    [
        ("data.root=/a b/c (1), d", "data.root='/a b/c (1), d'"),
        ("data.root='/a b'", "data.root='/a b'"),
        ("data.root=data/cifar-10", "data.root=data/cifar-10"),
        ("checkpoint=true", "checkpoint='true'"),
        ("run_dir=null", "run_dir=null"),
        ("epochs=3", "epochs=3"),
    ],
)
def test_paths_are_taken_literally(typed, passed_on):
    assert entry.literal(typed) == passed_on
