"""Answers of the command line: one line and exit code 2 without traceback or import of torch."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl

from ssl_norm.cli import entry
from ssl_norm.cli.command import WRITTEN
from ssl_norm.cli.help import help_text
from ssl_norm.settings import compose
from ssl_norm.settings.models import MODELS

ROOT = Path(__file__).resolve().parents[2]
LAST_OF_TWO = {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "here", "MASTER_PORT": "29500"}
WRONG = {
    "epochs=1,2": ["epochs=1,2", "-m"],
    "augment.mean=0.5,0.5,0.5": ["augment.mean=", "[ ]"],
    "hydra.foo=3": ["hydra", "foo"],
    "epochs==3": ["epochs", "=3"],
    "data.root=${x}": ["data.root", "'x'"],
    "norm.encoder={name: bn": ["norm.encoder={name: bn", "key=value"],
    "method=simclr method.predictor.layers=1": ["method has no key 'predictor'", "'projector'?"],
    "--help epcohs=3": ["'epcohs'", "'epochs'?"],
    "--cfg job -p nonexist": ["error: package 'nonexist' not found"],
    "seed=range(0,3)": ["'seed=range(0,3)' requires --multirun"],
    "-m seed=range(0,0)": ["the sweep has no run"],
    "seed=null": ["seed: ", "null"],
    "data=folder": ["data.root="],
}


def run_main(monkeypatch, capsys, tool: str, *arguments: str) -> tuple[int, str]:
    """Return exit code and stderr of a command whose tool does nothing."""
    monkeypatch.setattr(sys, "argv", [f"{tool}.py", *arguments])
    with pytest.raises(SystemExit) as ending:
        entry.main(tool)
    return ending.value.code, capsys.readouterr().err


@pytest.mark.parametrize("typed", WRONG)
def test_wrong_input_is_one_line_and_exit_code_2(monkeypatch, capsys, typed):
    arguments = [typed] if "{" in typed else typed.split()
    code, printed = run_main(monkeypatch, capsys, "pretrain", *arguments)
    assert code == 2
    assert len(printed.strip().splitlines()) == 1
    assert [part for part in WRONG[typed] if part not in printed] == []


PLACES = [(t, f"{key}=x") for t in MODELS for key in WRITTEN if key in MODELS[t].model_fields]


@pytest.mark.parametrize(("tool", "place"), [*PLACES, ("toy", "output=toy.png")])
def test_a_sweep_refuses_a_common_output(monkeypatch, capsys, tool, place):
    given = place if place.endswith("=x") else "control=none,ln"  # the default output
    code, printed = run_main(monkeypatch, capsys, tool, "-m", given)
    assert (code, len(printed.splitlines())) == (2, 1)
    assert f"{place}: all runs of the sweep would write there" in printed


def test_each_failed_run_of_a_sweep_is_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    wrong = "optimizer.warmup_epochs=9"
    code, printed = run_main(monkeypatch, capsys, "pretrain", "-m", "epochs=1,2", wrong)
    starts = [line[: len("error: run 0 (epochs=1")] for line in printed.splitlines()]
    assert (code, starts) == (2, ["error: run 0 (epochs=1", "error: run 1 (epochs=2"])


def test_only_the_first_process_prints(monkeypatch, capsys):
    for name, value in LAST_OF_TWO.items():
        monkeypatch.setenv(name, value)
    assert run_main(monkeypatch, capsys, "pretrain", "epochs=0") == (2, "")


def test_right_input_reaches_the_tool(monkeypatch, capsys):
    given = []
    monkeypatch.setattr(entry, "load_object", lambda name: given.append(name) or given.append)
    arguments = ("norm.encoder=gn+ws", "epochs=1")
    assert run_main(monkeypatch, capsys, "pretrain", *arguments) == (0, "")
    name, settings = given
    assert name == "ssl_norm.commands.pretrain:pretrain"
    assert (settings.epochs, str(settings.norm.encoder)) == (1, "gn+ws")


def test_a_command_composes_once_and_reads_only_the_files_of_its_options(monkeypatch, capsys):
    composed, opened = [], []
    load, read = ConfigLoaderImpl.load_configuration, compose.read_file
    monkeypatch.setattr(
        ConfigLoaderImpl, "load_configuration", lambda *a, **k: composed.append(a) or load(*a, **k)
    )
    monkeypatch.setattr(
        compose, "read_file", lambda path, *a: opened.append(path) or read(path, *a)
    )
    monkeypatch.setattr(entry, "load_object", lambda _: print)
    for cached in (compose._contents, compose.groups_of):
        cached.cache_clear()
    run_main(monkeypatch, capsys, "pretrain", "encoder=resnet18")
    assert len(composed) == 1
    assert {path.stem for path in opened} == {"pretrain", "byol", "digits", "resnet18"}


WITHOUT = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        assert name not in {"torch", "numpy", "timm", "matplotlib", "pandas"}, f"heavy: {name}"
sys.meta_path.insert(0, Refuse())
from ssl_norm.cli import main
for line in sys.stdin.read().splitlines():
    tool, *sys.argv[1:] = line.split()
    try:
        main(tool)
    except SystemExit as ending:
        print("code", ending.code, file=sys.stderr)
"""


LACKS = [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")]


@pytest.mark.parametrize("lack", LACKS)
def test_a_lack_of_memory_is_one_line(monkeypatch, capsys, lack):
    def fail(*_, **__):
        raise lack

    monkeypatch.setattr(entry, "load_object", lambda _: fail)
    code, printed = run_main(monkeypatch, capsys, "pretrain")
    assert (code, len(printed.splitlines())) == (2, 1)
    assert "out of memory" in printed
    assert str(lack).partition(": ")[2] in printed


def test_help_and_wrong_names_need_no_torch():
    wrong = ["pretrain norm.encoder=bm", "pretrain encoder.name=nope", "finetune domains=[contrst]"]
    wrong += ["pretrain augment.view1.extra=[RandomRotaton]"]
    wrong += ["pretrain augment.view1.extra=[{name:RandomRotation,degreez:3}]"]
    commands = "\n".join([*(f"{tool} --help" for tool in MODELS), *wrong])
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT], input=commands, capture_output=True, text=True, cwd=ROOT
    )
    printed = re.sub("error: .*", "error", ended.stderr).splitlines()
    assert printed == ["code 0"] * len(MODELS) + ["error", "code 2"] * len(wrong), ended.stderr


def keys_of(text: str) -> dict[str, str]:
    """Return key and meaning of each line of a help text that describes a key."""
    lines = re.findall(r"^  ([\w.]+)=(?:\[.*?\]|\S+)(?: +(\S.*))?$", text, re.MULTILINE)
    return dict(lines)


@pytest.mark.parametrize("tool", MODELS)
def test_help_names_every_key_with_its_meaning(tool):
    from tests.settings.test_ranges import SETTINGS, model_of

    found = keys_of(help_text(tool).partition("\nKeys")[2])
    leaves = {key for key, field in SETTINGS[tool].items() if model_of(field.annotation) is None}
    assert leaves - {"method.name"} <= set(found)
    assert [key for key, meaning in found.items() if not meaning] == []


def test_help_shows_groups_learners_and_the_values_of_a_plain_command():
    text = help_text("pretrain")
    assert "  method = byol | moco_v2 | simclr" in text
    assert not {"recipe = ", "method.name"} & set(re.findall(r"recipe = |method\.name", text))
    shown = {line.split()[0] for line in text.splitlines() if line.strip()}
    values = {"epochs=13", "optimizer.lr=1.6", "method.ema_decay=0.98", "method.queue_size=4096"}
    assert values <= shown
    assert "augment.view.flip=0.0" in help_text("finetune")
    assert "queue_size" not in help_text("pretrain", "byol")


def test_help_of_linear_eval_has_its_own_groups_only():
    text = help_text("linear_eval")
    assert "  data = cifar10 |" in text
    assert "null: as in the checkpoint" in text
    assert not re.search(r"  (method|augment|study|recipe) = ", text)
