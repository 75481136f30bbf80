"""Refused and accepted settings of tools/finetune.py."""

import pytest

from tests.settings.refusals import accept, assert_refused

WRONG = {
    "labels=1": "at least 2 images ... all images: labels=1.0",
    "labels=0.0": "labels=0.0: an integer in [1, ... or a number in (0, 1]",
    "labels=1.5": "a number in (0, 1]",
    "labels=true": "labels=true: an integer in",
    "labels=x": "labels=x: an integer in",
    "labels=40 labels_per_class=4": "labels=40 and labels_per_class=4 ... give one of them",
    "optimizer.warmup_steps=1001": "longer than the run of steps=1000; shorten it",
    "optimizer.betas=[0.9,1]": "optimizer.betas[1]=1: a number in [0, 1)",
    "norm.encoder=bm": "unknown norm 'bm' ... 'bn'?",
    "norm.encoder={name: ubn, batch_size: 8}": "no ghost batches; leave batch_size out",
    "norm.encoder={name: domain, domains: 3} domains=[clean,jpeg]": "64 samples ... use domains: 2",
    "norm.encoder=domain": "domains=[] names none; add domains=[clean,contrast:5] ... bn",
    "encoder.name=resnet1888": "unknown encoder 'resnet1888' ... 'resnet18'?",
    "checkpoint=": "empty path; name a file or folder, or leave it out",
    "checkpoint=/no/such": "checkpoint=/no/such: there is no such file or run folder",
    "checkpoint=/": "a folder without last.pt; name a run or a file",
    "grouping.shuffle=true": "chunks of a batch; add grouping.chunk=...",
    "grouping.classes=2": "chunks of a batch; add grouping.chunk=...",
    "grouping.chunk=5": "does not divide batch_size=64; use a divisor",
    "grouping.chunk=8 grouping.classes=3": "does not divide grouping.chunk=8; use a divisor",
    "domains=[clean]": "domains=[clean]: a mixture has at least two domains, such as domains=",
    "domains=[jpeg,clean,jpeg:5]": "[jpeg, clean, jpeg:5]: one domain is named twice; leave it out",
    "domains=[clean,contrst]": "domains[1]: unknown corruption 'contrst' ... 'contrast'?",
    "domains=[clean,contrast,jpeg]": "batch_size=64 is not 3 equal chunks ... use a multiple of 3",
    "domains=[clean,contrast,jpeg,gaussian_blur] norm.encoder=domain": "use domains: 4",
    "domains=[clean,jpeg,contrast] batch_size=9 labels=2": "fewer images ... use at least 3",
    "domains=[clean,jpeg,contrast] batch_size=9 evaluation.samples=[2]": "use at least 3",
    "domains=[clean,jpeg,contrast] batch_size=9 evaluation.batch_sizes=[2]": "use at least 3",
    "evaluation.statistics=[]": "empty; give at least one value",
    "evaluation.statistics=[ema]": "'ema'; known: population, exact, batch",
    "evaluation.statistics=[exact] evaluation.train=true": "names neither; add one",
    "evaluation.samples=[]": "empty; give at least one value",
    "evaluation.adapt_samples=[]": "empty; give at least one value",
    "evaluation.batch_sizes=[1]": "evaluation.batch_sizes[0]=1: an integer in [2, ",
    "evaluation.corruptions=[clean]": "clean test images are always scored; leave it out",
    "evaluation.corruptions=[{name: jpeg, severity: 6}]": "jpeg:6 ... an integer in [1, 5]",
    "evaluation.uncertainty=1": "a spread needs at least 2 draws",
    "evaluation.uncertainty=5 norm.encoder=gn": "no batch statistics to draw; use a batch norm",
    "evaluation.uncertainty=5 norm.freeze_last=0.2": "leave one of them out",
    "resume=true": "needs run_dir=...",
}  # fmt: skip
RIGHT = (
    "labels=2",
    "labels=0.1",
    "labels_per_class=4",
    "norm.encoder=domain domains=[clean,contrast]",
    "grouping.chunk=8 grouping.classes=2 grouping.shuffle=true",
    "evaluation.uncertainty=5",
    "evaluation.corruptions=[jpeg:2,{name: contrast}]",
)


@pytest.mark.parametrize("typed", WRONG)
def test_wrong_settings_are_one_line(typed):
    assert_refused("finetune", typed, WRONG[typed])


@pytest.mark.parametrize("typed", RIGHT)
def test_right_settings_pass(typed):
    accept("finetune", typed)


def test_labels_keep_their_type():
    assert type(accept("finetune", "labels=2").labels) is int
    assert type(accept("finetune", "labels=1.0").labels) is float
