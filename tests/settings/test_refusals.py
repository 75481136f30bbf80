"""Refused and accepted settings of all tools.

Ranges of numbers, choices, empty paths and unknown keys of every setting: test_ranges.py.
"""

import pytest

from ssl_norm.errors import UserError
from ssl_norm.settings.models import MODELS, validate
from tests.settings.refusals import START, accept, assert_refused

WRONG = {
    "pretrain": {
        # names
        "epcohs=3": "unknown key 'epcohs' ... did you mean 'epochs'?",
        "method.temperature=1": "method has no key 'temperature'; known: name, projector",
        "method.name=simclr method.predictor.layers=1": "'predictor' ... 'projector'?",
        "method=byl": "'byl'; known: byol, simclr, moco_v2 ... did you mean 'byol'?",
        "data.name=nowhere.else:images data.spacing=2": "data has no key 'spacing'",
        "data.seed=3": "data has no key 'seed'",
        "encoder.name=resnet1888": "unknown encoder 'resnet1888' ... 'resnet18'?",
        "device=gpu": "'gpu' ... auto, cpu, cuda, cuda:<number> or mps",
        "device=cuda:x": "'cuda:x'",
        # types
        "epochs=null": "an integer in [1, ... got null",
        "data.limit=1e3": "data.limit=1000.0: an integer in",
        "data.resident=[1]": "got [1]",
        "data.root=3": "text expected",
        "method.projector=3": "3",
        "augment.view1=null": "augment.view1",
        "optimizer.betas=[a,b]": "optimizer.betas[0]=a: a number in [0, 1)",
        "optimizer.betas=[0.9]": "2 numbers in brackets ... got [0.9]",
        "optimizer.lr=nan": "optimizer.lr=nan: a number in (0, ",
        "augment.view1.crop_area=[0.5,0.1]": "low <= high ... got [0.5, 0.1]",
        "augment.view2.extra=[3]": "augment.view2.extra[0]: ... {name: RandomRotation, degrees: 10}",
        "augment.view1.extra=[{name: RandomRotation, degreez: 3}]": "extra[0]: ... mean 'degrees'?",
        "augment.view2.extra=[RandomInvert,{name: RandomCrop, size: [8, 8]}]": "extra[1]: ... size of a view",
        # norms
        "norm.encoder=bm": "unknown norm 'bm' ... 'bn'?",
        "norm.encoder=null": "a name or a mapping ... got null",
        "norm.encoder={}": "needs 'name'",
        "norm.encoder={name: bn, eps: 0}": "eps=0: a number in [1e-12, ",
        "norm.encoder={name: ln, affine: 1}": "affine=1: true or false",
        "norm.encoder={name: gn, groups: 2.5}": "groups=2.5: an integer in",
        "norm.encoder=mypkg.norms:Mine": "there is no module 'mypkg'",
        "norm.projector=gn+sw": "'gn+ws'?",
        "norm.projector={name: gn, group: 16}": "'group' ... 'groups'?",
        "norm.projector={name: gn, groups: 7}": "do not divide it; use 4: ... '{name: gn, groups: 4}'",
        "norm.predictor={name: gn+ws, groups: 512}": "hidden_dim=512: 512 groups of one value ... 256}'",
        "norm.predictor=gn method.predictor.hidden_dim=32": "map it to 0; use 16: ... groups: 16}'",
        "norm.projector={name: zca, groups: 7}": "7 groups do not divide it; use 4",
        "method.projector.norm_output=iternrm": "unknown norm 'iternrm' ... 'iternorm'?",
        "method.predictor.norm_output={name: iternorm, iteration: 3}": "'iteration' ... 'iterations'?",
        "method.projector.norm_output={name: zca, groups: 3}": "output_dim=128 ... use 2: ... groups: 2}'",
        "method.projector.norm_output=zca method.projector.layers=0": "set method.projector.layers=1",
        "norm.projector=in": "one value per channel ... such as norm.projector=ln",
        "norm.predictor=bn method.name=simclr": "simclr has no predictor; set it to none",
        # norms and the batch
        "batch_size=1": "norm.encoder=bn has no batch statistics on one image; use at least 2",
        "norm.encoder=ln norm.projector=ln norm.predictor=none method.projector.norm_output=zca "
        "batch_size=1": "method.projector.norm_output=zca has no batch statistics ... use at least 2",
        "norm.encoder=ln norm.projector=ln norm.predictor=none method.name=simclr batch_size=1":
        "negatives need a second image; use at least 2",
        "norm.projector={name: ghost, batch_size: 127}": "last ghost batch ... use 126: ... size: 126}'",
        "norm.predictor={name: rbn, batch_size: 1}": "use 2: norm.predictor='{name: rbn, batch_size: 2}'",
        "norm.projector=ghost batch_size=33": "33 samples leave a last ghost batch of one",
        "norm.encoder={name: domain, domains: 3}": "128 samples ... use domains: 2 or another batch_size",
        "norm.encoder=domain batch_size=33": "use domains: 1 or another batch_size",
        "norm.projector=domain batch_size=2": "no batch statistics in a head; use a larger batch_size",
        # the learner
        "method.predictor.output_dim=64": "differs from method.projector.output_dim=128 ... set both",
        "method.name=moco_v2 norm.predictor=none method.queue_size=1000": "the nearest is 1024",
        "method.name=moco_v2 norm.predictor=none method.symmetric=true method.queue_size=128":
        "the 256 keys of a batch; the nearest is 256",
        "method.name=moco_v2 norm.predictor=none norm.view_statistics=joint": "method.symmetric=true",
        # lengths of the run
        "epochs=3 norm.freeze_last_epochs=4": "longer than the run of epochs=3; shorten it",
        "epochs=3 optimizer.warmup_epochs=4": "longer than the run of epochs=3; shorten it",
        "epochs=3 optimizer.schedule_epochs=2": "shorter than the run of epochs=3; leave it out",
        "keep_every=3 checkpoint_every=2": "not a multiple of checkpoint_every=2 ... use keep_every=4",
        "encoder.pretrained_path=/no/such.pt": "there is no such file; name a file of weights",
        "resume=true": "needs run_dir=... ... with -m, hydra.sweep.dir=...",
        # the verdict
        "monitor.healthy_cosine=0.995": "above complete_cosine=0.99 ... lower the first or raise",
        "monitor.healthy_std=0.01": "below complete_std=0.05 ... raise the first or lower",
    },
    "finetune": {
        "labels=1": "at least 2 images ... all images: labels=1.0",
        "labels=0.0": "labels=0.0: an integer in [1, ... or a number in (0, 1]",
        "labels=true": "labels=true: an integer in",
        "labels=40 labels_per_class=4": "labels=40 and labels_per_class=4 ... give one of them",
        "optimizer.warmup_steps=1001": "longer than the run of steps=1000; shorten it",
        "norm.encoder={name: ubn, batch_size: 8}": "no ghost batches; leave batch_size out",
        "norm.encoder={name: domain, domains: 3} domains=[clean,jpeg]": "64 samples ... use domains: 2",
        "norm.encoder=domain": "domains=[] names none; add domains=[clean,contrast:5] ... bn",
        "augment.view.extra=[RandomRotaton]": "augment.view.extra[0]: ... mean 'RandomRotation'?",
        "augment.view.extra=[{name: solarize, treshold: 3}]": "did you mean 'threshold'?",
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
        "domains=[clean,jpeg,contrast] batch_size=9 labels=2": "less than the 3 domains; use at least 3",
        "domains=[clean,jpeg,contrast] batch_size=9 evaluation.samples=[2]": "use at least 3",
        "evaluation.statistics=[]": "empty; give at least one value",
        "evaluation.statistics=[exact] evaluation.train=true": "names neither; add one",
        "evaluation.corruptions=[clean]": "clean test images are always scored; leave it out",
        "evaluation.corruptions=[{name: jpeg, severity: 6}]": "jpeg:6 ... an integer in [1, 5]",
        "evaluation.uncertainty=1": "a spread needs at least 2 draws",
        "evaluation.uncertainty=5 norm.encoder=gn": "no batch statistics to draw; use a batch norm",
        "evaluation.uncertainty=5 norm.freeze_last=0.2": "leave one of them out",
    },
    "linear_eval": {
        "checkpoint=null": "text expected, got null",
        "data.limit=5": "data has no key 'limit'",
        "norm.projector=bn": "norm has no key 'projector'; known: encoder",
    },
    "diagnose": {
        "output=a.PNG": "output: 'a.PNG' would be overwritten: ... .png ... ends in .json",
    },
    "population_stats": {
        "output=a.json": "output: 'a.json' would be overwritten: ... ends in .pt",
        "output=a.png": "output: 'a.png' would be overwritten: ... ends in .pt",
    },
    "doctor": {
        "run_dir=x resume=true": "resume=true: the check concerns the first steps of a run",
    },
    "report": {
        "runs=''": "a folder expected",
        "runs=[]": "a folder expected",
        "runs=3": "text or a list in brackets",
        "group_by=' '": "a key, such as norm.projector",
    },
    "toy": {
        "labels_per_class=100 ubn.ratio=4": "ubn.ratio=4 ... use a ratio from 0.005 to 2.5",
        "ubn.ratio=0.01": "needs 0 unlabelled samples per step",
        "control=rbn": "use a norm without them, such as none, ln or gn",
        "control=in": "one value per channel ... such as control=ln",
        "control={name: gn, groups: 7}": "hidden_dim=64 ... use 4: control='{name: gn, groups: 4}'",
        "output=toy.txt": "output=toy.txt: ... .png, .pdf, .svg",
        "toy=digits labels_per_class=175 ubn.ratio=0.01 unlabelled=20": (
            "175 labels a class ... 174 of one digit"
        ),
        "toy=digits unlabelled=1718 gap_labels=[1,8]": "toy=digits has 1,797 scans",
    },
}  # fmt: skip
RIGHT = {
    "pretrain": (
        "norm.encoder=gn+ws",
        "norm.projector=gn+ws norm.predictor={name: gn, groups: 4, eps: 1e-3, affine: false}",
        "norm.encoder={name: bn, update_rate: 1}",
        "norm.encoder={name: domain, domains: 4, batch_size: 31} norm.projector=domain",
        "norm.encoder={name: ghost, batch_size: 127} norm.predictor=ghost",
        "norm.encoder=in method.projector.layers=1 norm.projector=in",
        "batch_size=3 norm.view_statistics=joint norm.projector=domain",
        "method.projector.norm_output=iternorm method.predictor.norm_output=none",
        "method.projector.norm_output={name: zca, groups: 128, affine: false} norm.projector=zca",
        "method.projector.layers=0 method.projector.norm_output=true",
        "method.predictor.layers=0 norm.predictor=none",
        "method.projector.layers=0",
        "method.name=moco_v2 norm.predictor=none norm.view_statistics=joint method.symmetric=true",
        "data.name=folder data.root=/photos",
        "keep_every=4 checkpoint_every=2",
        "epochs=3 norm.freeze_last_epochs=3 optimizer.warmup_epochs=3 optimizer.schedule_epochs=3",
        "seed=9223372036854775807 optimizer.momentum=0 optimizer.warmup_epochs=0",
        "device=cuda:1 data.resident=true",
        "encoder.pretrained_path=/gone.pt resume=true run_dir=x",
        "monitor.healthy_cosine=0.99 monitor.healthy_std=0.05",
        "augment.view1.extra=[{name: RandomRotation, degrees: 9}]",
    ),
    "finetune": (
        "labels=2",
        "labels=0.1",
        "labels_per_class=4",
        "norm.encoder=domain domains=[clean,contrast]",
        "grouping.chunk=8 grouping.classes=2 grouping.shuffle=true",
        "evaluation.uncertainty=5",
        "evaluation.corruptions=[jpeg:2,{name: contrast}]",
    ),
}
THREE = "WORLD_SIZE=3 RANK=0 MASTER_ADDR=localhost MASTER_PORT=29500 "
WRONG_LAUNCH = {
    "WORLD_SIZE=x": "WORLD_SIZE='x': an integer in [1, ... torchrun, which sets it",
    "WORLD_SIZE=0": "WORLD_SIZE='0': an integer in [1, ",
    "WORLD_SIZE=2": "without RANK, MASTER_ADDR, MASTER_PORT; start with torchrun",
    "WORLD_SIZE=2 RANK=0 MASTER_PORT=1": "without MASTER_ADDR; start with torchrun",
    "RANK=x": "RANK='x': an integer in [0, ",
    "RANK=1": "RANK=1 with WORLD_SIZE=1: a rank below 1 expected",
    "LOCAL_RANK=-1": "LOCAL_RANK='-1': an integer in [0, ",
    f"{THREE} MASTER_PORT=x": "MASTER_PORT='x': an integer in [1, 65535]",
    f"{THREE} batch_size=128": "batch_size=128 ... by 3 processes; use a multiple of 3",
    f"{THREE} batch_size=3": "on 3 process(es): norm.encoder=bn ... use at least 6",
    f"{THREE} batch_size=6 device=cuda:1": "each process needs a GPU; use device=cuda",
    f"{THREE} batch_size=6 device=mps": "use device=cuda",
    f"{THREE} batch_size=9 norm.projector=domain": "3 samples per process ... use domains: 1 or another batch_size",
}  # fmt: skip
RIGHT_LAUNCH = (
    f"{THREE} batch_size=6 device=cuda",
    f"{THREE} batch_size=9 norm.projector=domain norm.view_statistics=joint",
    f"{THREE} batch_size=6 norm.projector={{name: domain, sync: true}}",
)


@pytest.mark.parametrize(("tool", "typed"), [(t, s) for t, found in WRONG.items() for s in found])
def test_wrong_settings_are_one_line(tool, typed):
    assert_refused(tool, typed, WRONG[tool][typed])


@pytest.mark.parametrize(
    ("tool", "typed"),
    [(t, s) for t, found in RIGHT.items() for s in found] + [(tool, "") for tool in MODELS],
)
def test_right_settings_pass(tool, typed):
    accept(tool, typed)


def start(monkeypatch, typed: str) -> str:
    """Set the variables, in capitals, in the environment; return the settings."""
    pairs = typed.split()
    for name, value in (pair.split("=") for pair in pairs if pair[0].isupper()):
        monkeypatch.setenv(name, value)
    return " ".join(pair for pair in pairs if not pair[0].isupper())


@pytest.mark.parametrize("typed", WRONG_LAUNCH)
def test_wrong_launches_are_one_line(monkeypatch, typed):
    assert_refused("pretrain", start(monkeypatch, typed), WRONG_LAUNCH[typed])


@pytest.mark.parametrize("typed", RIGHT_LAUNCH)
def test_right_launches_pass(monkeypatch, typed):
    accept("pretrain", start(monkeypatch, typed))


@pytest.mark.parametrize("tool", ["finetune", "linear_eval", "population_stats", "diagnose"])
def test_several_processes_are_for_pretraining(monkeypatch, tool):
    start(monkeypatch, THREE)
    with pytest.raises(UserError, match=r"one process, and 3 were started; start it with python"):
        accept(tool, "")


@pytest.mark.parametrize("tool", ["linear_eval", "population_stats", "diagnose", "report"])
def test_required_settings_are_named(tool):
    (key,) = START[tool]
    with pytest.raises(UserError, match=rf"{key}=\.\.\."):
        validate(tool, {})


def test_a_learner_is_required_and_all_are_named():
    with pytest.raises(UserError, match=r"method=\.\.\."):
        validate("pretrain", {})
    with pytest.raises(UserError, match=r"byol \| simclr \| moco_v2"):
        validate("pretrain", {"method": {}})


def test_labels_keep_their_type_and_a_joint_batch_of_the_toy_is_whole():
    assert type(accept("finetune", "labels=2").labels) is int
    assert type(accept("finetune", "labels=1.0").labels) is float
    assert accept("toy", "labels_per_class=4 ubn.ratio=4.0").unlabelled_per_step == 32
    assert accept("toy", "labels_per_class=1 ubn.ratio=1.5").unlabelled_per_step == 3
