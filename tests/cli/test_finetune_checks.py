"""Every check of tools/finetune.py, each in one line."""

from functools import cache

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from ssl_norm.cli.checks import check
from ssl_norm.cli.entry import register_schemas, typed_config
from ssl_norm.cli.groups import CONFIG_FOLDER
from ssl_norm.errors import UserError

WRONG = {
    "labels=1": "labels=1: a number of images, of at least 2, or a fraction in (0, 1] such as 0.1 expected; all "
    "images: labels=1.0",
    "labels=0.0": "labels=0.0: a number of images",
    "labels=1.5": "labels=1.5: a number of images",
    "labels=true": "labels=True: a number of images",
    "labels=x": "labels=x: a number of images",
    "labels_per_class=0": "labels_per_class=0: an integer of at least 1 expected",
    "labels=40 labels_per_class=4": "labels=40 and labels_per_class=4 both say how many images are labelled",
    "steps=0": "steps=0: an integer of at least 1 expected",
    "optimizer.warmup_steps=1001": "optimizer.warmup_steps=1001 is longer than the run of steps=1000",
    "optimizer.betas=[0.9,1]": "optimizer.betas: two numbers",
    "norm.freeze_last=1.1": "norm.freeze_last=1.1: a number in [0, 1] expected",
    "norm.encoder=bm": "norm.encoder: unknown norm 'bm'",
    "norm.encoder={name: ubn, batch_size: 8}": "belong to no ghost batch; leave batch_size out",
    "ubn.ratio=0": "ubn.ratio=0.0: a number above 0 expected",
    "encoder.name=resnet1888": "unknown encoder",
    "checkpoint=": "checkpoint is empty; name the file or run folder",
    "checkpoint=/no/such": "checkpoint=/no/such: there is no such file or run folder",
    "checkpoint=/": "checkpoint=/: a folder without last.pt",
    "augment.mean=[2,0,0]": "augment.mean",
    "augment.view.flip=2": "augment.view.flip",
    "grouping.shuffle=true": "are about chunks of a batch; add grouping.chunk=...",
    "grouping.chunk=5": "grouping.chunk=5 does not divide batch_size=64",
    "grouping.chunk=8 grouping.classes=3": "grouping.classes=3 does not divide grouping.chunk=8",
    "domains=[clean]": "a mixture has at least two",
    "domains=[jpeg,clean,jpeg:5]": "one of them is named twice",
    "norm.encoder=domain": "domains=[] names none",
    "domains=[clean,contrst]": "did you mean 'contrast'?",
    "domains=[clean,contrast,jpeg]": "batch_size=64 is not 3 equal chunks",
    "domains=[clean,contrast,jpeg,gaussian_blur] norm.encoder=domain": "keeps apart 2 domains",
    "evaluation.statistics=[]": "evaluation.statistics is empty",
    "evaluation.statistics=[exact] evaluation.train=true": "names neither; add one",
    "evaluation.statistics=[ema]": "unknown evaluation.statistics 'ema'",
    "evaluation.samples=[]": "evaluation.samples is empty",
    "evaluation.batch_sizes=[1]": "evaluation.batch_sizes=1: an integer of at least 2 expected",
    "evaluation.corruptions=[clean]": "clean test images are scored anyway",
    "evaluation.corruptions=[{name: jpeg, severity: 6}]": "severity",
    "domains=[clean,jpeg,contrast] batch_size=9 evaluation.samples=[2]": "evaluation.samples=2: fewer images",
    "domains=[clean,jpeg,contrast] batch_size=9 evaluation.batch_sizes=[2]": "evaluation.batch_sizes=2: fewer images",
    "domains=[clean,jpeg,contrast] batch_size=9 labels=2": "labels=2: fewer images than the 3 domains; use at least 3",
    "evaluation.uncertainty=1": "evaluation.uncertainty=1: a spread needs at least 2 draws",
    "evaluation.uncertainty=5 norm.encoder=gn": "norm.encoder=gn has no batch statistics to draw",
    "evaluation.uncertainty=5 norm.freeze_last=0.2": "frozen statistics cannot be drawn",
    "resume=true": "resume=true needs run_dir=...",
    "device=tpu": "device: 'tpu' is no device",
}  # fmt: skip


@cache
def usual():
    register_schemas()
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        return compose("finetune")


def configuration(arguments: str):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    config = OmegaConf.create(usual().copy())
    typed = [arguments] if "{" in arguments else arguments.split(" ")
    for override in OverridesParser.create().parse_overrides(typed):
        OmegaConf.update(config, override.key_or_group, override.value())
    return typed_config(config)


@pytest.mark.parametrize("arguments", WRONG)
def test_wrong_values_are_one_line(arguments):
    with pytest.raises(UserError) as refused:
        check(configuration(arguments))
    assert WRONG[arguments] in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "arguments",
    [
        "labels=2",
        "labels=0.1",
        "labels_per_class=4",
        "norm.encoder=domain domains=[clean,contrast]",
    ],
)
def test_right_values_pass(arguments):
    check(configuration(arguments))


def test_it_runs_in_one_process(monkeypatch):
    for name, value in {
        "WORLD_SIZE": "2",
        "RANK": "0",
        "MASTER_ADDR": "x",
        "MASTER_PORT": "1",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="finetune runs in one process, and 2 were started"):
        check(configuration("labels=2"))
