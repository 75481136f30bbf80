"""Checks of single arguments of a command line before composition."""

from itertools import combinations

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from ssl_norm.cli.arguments import HYDRA_KEYS, check_setting, literal, split_flags
from ssl_norm.errors import UserError
from ssl_norm.settings import folder
from ssl_norm.settings.models import MODELS
from tests.settings.test_ranges import SETTINGS

ACTIONS = ("-h", "-m", "--hydra-help", "--cfg job", "--info all")
WRONG = {
    "pretrain": {
        "epcohs=3": ["unknown key 'epcohs'", "'epochs'?"],
        "+epcohs=3": ["'epcohs'", "'epochs'?"],
        "epochs": ["'epochs'", "key=value"],
        "=3": ["'=3'", "key=value"],
        "~epochs": ["'~epochs'", "key=value"],
        "a.b=3": ["unknown key 'a'"],
        "tool=x": ["unknown key 'tool'"],
        "epochs=0": ["epochs=0", "[1, "],
        "norm.encoder=bm": ["norm.encoder", "'bm'", "'bn'?"],
        "optimizer.betas=[0.9,1]": ["optimizer.betas[1]=1"],
        "data.root=": ["data.root", "leave it out"],
        "recipe=byol_digits": ["unknown key 'recipe'"],
        "monitor=3": ["monitor is a section", "log_every, ", "monitor.complete_cosine=..."],
        "norm=bn": ["norm is a section", "encoder, projector, predictor, view_statistics"],
        "groups: 16}": ["cannot read", "quotes around a value that has spaces"],
        "method=mypkg.learners.Mine": ["(an object of your own: 'mypkg.learners:Mine')"],
        "method=byl": ["unknown method 'byl'", "byol, moco_v2, simclr", "'byol'?"],
        "method=": ["unknown method ''"],
        "method.name=simclr": ["method.name=simclr", "use method=simclr"],
        "data.name=folder": ["data.name=folder", "use data=folder"],
        "data=cifer": ["unknown data 'cifer'", "'cifar10'?"],
        "data=digits,cifer": ["unknown data 'cifer'", "'cifar10'?"],
        "data=null": ["unknown data 'null'", "cifar10", "digits"],
        "data=[digits,cifar10]": ["unknown data '[digits'"],
        "encoder=resnet34": ["unknown encoder 'resnet34'", "encoder.name=..."],
        "augment=null": ["unknown augment 'null'", "byol_small"],
        "study=abc": ["unknown study 'abc'"],
        "method@x=byol": ["cannot read 'method@x=byol'", "method=..."],
        "seed@x=1": ["cannot read 'seed@x=1'", "seed=..."],
        **{f"{key}=x": [key, repair] for key, repair in HYDRA_KEYS.items()},
        "hydra.run={dir: x}": ["hydra.run.dir is not available", "run_dir=..."],
        "study=ubn_few_labels": ["python tools/finetune.py -m study=ubn_few_labels"],
    },
    "finetune": {
        "study=byol_collapse": ["python tools/pretrain.py -m study=byol_collapse"],
        "epochs=3": ["unknown key 'epochs'", "a key of pretrain, doctor"],
        "method.name=byol": ["unknown key 'method'"],
    },
    "linear_eval": {
        "method=byol": ["unknown key 'method'"],
        "study=cifar10_heads": ["unknown key 'study'"],
        "augment=byol": ["augment is a section", "mean, std", "augment.mean=..."],
    },
    "diagnose": {"/": ["cannot read '/'", "did you mean 'checkpoint=/'?"]},
    "toy": {"lables_per_class=3": ["'labels_per_class'?"], "study=x": ["unknown key 'study'"]},
}
CASES = [(tool, argument) for tool, cases in WRONG.items() for argument in cases]


@pytest.mark.parametrize(("tool", "argument"), CASES)
def test_wrong_arguments_are_one_line(tool, argument):
    with pytest.raises(UserError) as caught:
        check_setting(argument, tool)
    assert [part for part in WRONG[tool][argument] if part not in str(caught.value)] == []
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "argument",
    [
        "+epochs=3",
        "method=byol,simclr",
        "method=mypkg.learners:Mine",
        "data=choice(digits,cifar10)",
        "augment=moco_v2_small",
        "monitor={patience: 9}",
        "norm.encoder={name: gn, groups: 4}",
        "study=byol_collapse",
        "hydra.sweep.dir=x",
        "epochs=1,2",
        "norm.encoder.groups=4",
        "method.ema_decay=3",  # settings of a learner are checked later
        "data.root=/a b/(c), d",
        "data.root=${oc.env:HOME}",
        "monitor.healthy_cosine=0.995",  # with other settings, it may be right
    ],
)
def test_right_arguments_pass(argument):
    check_setting(argument, "pretrain")


def test_flags_keep_their_values():
    flags, settings = split_flags(["a=1", "--cfg", "job", "-p=norm", "b=2"])
    assert (flags.cfg, flags.package, settings) == ("job", "norm", ["a=1", "b=2"])


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        ("--epochs", ["'--epochs'", "epochs=..."]),
        ("--cfg", ["--cfg", "one argument"]),
        ("--cfg x", ["--cfg", "'x'", "hydra"]),
        ("--info x", ["--info", "'x'", "searchpath"]),
        ("-m=3", ["--multirun", "'3'"]),
        ("--help=x", ["--help", "'x'"]),
        ("--multi", ["unknown flag '--multi'"]),
        ("--resolve", ["for --cfg"]),
        ("-p norm", ["for --cfg"]),
        *((f"{a} {b}", ["not allowed with"]) for a, b in combinations(ACTIONS, 2)),
    ],
)
def test_wrong_flags_are_one_line(flags, parts):
    with pytest.raises(UserError) as caught:
        split_flags(flags.split())
    assert [part for part in parts if part not in str(caught.value)] == []
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["--config-dir={}", "-cd {}", "hydra.searchpath=[file://{}]"])
def test_folders_of_the_user_are_taken(monkeypatch, tmp_path, form):
    monkeypatch.setattr(folder, "_FOLDERS", [folder.CONFIG_FOLDER])
    assert split_flags([*form.format(tmp_path).split(), "seed=3"])[1] == ["seed=3"]
    assert folder.added_folders() == [tmp_path]


@pytest.mark.parametrize("argument", ["--config-dir=/no/such", "hydra.searchpath=[pkg://nowhere]"])
def test_missing_folders_are_one_line(argument):
    with pytest.raises(UserError, match=r"/no/such|nowhere"):
        split_flags([argument])


@pytest.mark.parametrize(
    ("typed", "passed_on"),
    [
        ("data.root=/a b/c (1), d", "data.root='/a b/c (1), d'"),
        ("data.root='/a b'", "data.root='/a b'"),
        ("data.root=data/cifar-10", "data.root=data/cifar-10"),
        ("checkpoint=true", "checkpoint='true'"),
        ("title=a, b", "title='a, b'"),
        ("title=it's", r"title='it\'s'"),
        ("data.root=C:\\photos\\", r"data.root='C:\photos\\'"),
        (r"title=a\'b\\'", r"title='a\\\'b\\\\\''"),
        ("runs=[a,b]", "runs=[a,b]"),
        ("runs=*byol*", "runs='*byol*'"),
        ("run_dir=null", "run_dir=null"),
        ("epochs=3", "epochs=3"),
    ],
)
def test_paths_and_titles_are_taken_literally(typed, passed_on):
    tool = next(tool for tool in MODELS if typed.split("=")[0] in SETTINGS[tool])
    assert literal(typed, tool) == passed_on
    if passed_on[-1] in "'\"":
        (override,) = OverridesParser.create().parse_overrides([passed_on])
        value = typed.partition("=")[2]
        assert override.value() == (value[1:-1] if value[0] == "'" else value)
