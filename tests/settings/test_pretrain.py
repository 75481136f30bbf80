"""Refused and accepted settings of tools/pretrain.py. Ranges of single numbers: test_ranges.py."""

import pytest

from tests.settings.refusals import accept, assert_refused

WRONG = {
    # names
    "epcohs=3": "unknown key 'epcohs' ... did you mean 'epochs'?",
    "augment.view1.bluur=1": "augment.view1 has no key 'bluur' ... 'blur'?",
    "method.temperature=1": "method has no key 'temperature'; known: name, projector",
    "method.name=simclr method.predictor.layers=1": "'predictor' ... 'projector'?",
    "method=byl": "'byl'; known: byol, simclr, moco_v2 ... did you mean 'byol'?",
    "data.name=foldr": "'foldr' ... 'folder'?",
    "data.limt=3": "data has no key 'limt' ... 'limit'?",
    "data.name=nowhere.else:images data.spacing=2": "data has no key 'spacing'",
    "data.seed=3": "data has no key 'seed'",
    "data.on_corrupt=skp": "'skp' ... 'skip'?",
    "norm.view_statistics=jont": "'jont' ... 'joint'?",
    "method.ema_schedule=cos": "'cos' ... 'cosine'?",
    "optimizer.name=sdg": "'sdg' ... 'sgd'?",
    "monitor.on_collapse=stpo": "'stpo' ... 'stop'?",
    "precision=fp16": "'fp16'; known: auto, float32",
    "encoder.name=resnet1888": "unknown encoder 'resnet1888' ... 'resnet18'?",
    "encoder.name=": "unknown encoder ''",
    "device=gpu": "'gpu' ... auto, cpu, cuda, cuda:<number> or mps",
    "device=cuda:x": "'cuda:x'",
    "device=": "''",
    # types
    "epochs=x": "epochs=x: an integer in [1, ",
    "epochs=null": "an integer in [1, ... got null",
    "batch_size=1.5": "batch_size=1.5: an integer in",
    "data.limit=1e3": "data.limit=1000.0: an integer in",
    "resume=maybe": "true or false expected",
    "data.resident=maybe": "'maybe'; known: auto, true, false",
    "data.resident=[1]": "got [1]",
    "data.root=3": "text expected",
    "method.projector=3": "3",
    "augment.view1=null": "augment.view1",
    "optimizer.betas=0.9": "2 numbers in brackets",
    "optimizer.betas=[a,b]": "optimizer.betas[0]=a: a number in [0, 1)",
    "optimizer.betas=[0.9]": "2 numbers in brackets ... got [0.9]",
    "optimizer.betas=[0.9,1]": "optimizer.betas[1]=1: a number in [0, 1)",
    "optimizer.lr=nan": "optimizer.lr=nan: a number in (0, ",
    "optimizer.lr=inf": "optimizer.lr=inf: a number in (0, ",
    "augment.mean=[0.5,0.5]": "3 numbers in brackets ... got [0.5, 0.5]",
    "augment.std=[0,1,1]": "augment.std[0]=0: a number in (0, 1]",
    "augment.view1.crop_area=[0.5,0.1]": "low <= high ... got [0.5, 0.1]",
    "augment.view2.extra=[3]": "augment.view2.extra[0]: ... {name: RandomRotation, degrees: 10}",
    "data.root=": "empty path; name a file or folder, or leave it out",
    "data.root='  '": "empty path",
    "data.cache_dir=": "empty path",
    "encoder.pretrained_path=": "empty path",
    "run_dir=": "empty path",
    # norms
    "norm.encoder=bm": "unknown norm 'bm' ... 'bn'?",
    "norm.encoder=null": "a name or a mapping ... got null",
    "norm.encoder={}": "needs 'name'",
    "norm.encoder=[bn]": "a name or a mapping",
    "norm.encoder={name: bn, eps: 0}": "eps=0: a number in [1e-12, ",
    "norm.encoder={name: bn, eps: nan}": "eps=nan: a number in [1e-12, ",
    "norm.encoder={name: bn, update_rate: 2}": "update_rate=2: a number in (0, 1]",
    "norm.encoder={name: ln, affine: 1}": "affine=1: true or false",
    "norm.encoder={name: gn, groups: 2.5}": "groups=2.5: an integer in",
    "norm.encoder=mypkg.norms:Mine": "there is no module 'mypkg'",
    "norm.projector=gn+sw": "'gn+ws'?",
    "norm.projector={name: gn, group: 16}": "'group' ... 'groups'?",
    "norm.projector={name: gn, groups: x}": "groups=x: an integer",
    "norm.projector={name: gn, groups: 7}": "do not divide it; use 4: ... '{name: gn, groups: 4}'",
    "norm.predictor={name: gn+ws, groups: 512}": "hidden_dim=512: 512 groups of one value ... 256}'",
    "norm.predictor=gn method.predictor.hidden_dim=32": "map it to 0; use 16: ... groups: 16}'",
    "norm.projector={name: zca, groups: 7}": "7 groups do not divide it; use 4",
    "method.projector.norm_output=iternrm": "unknown norm 'iternrm' ... 'iternorm'?",
    "method.projector.norm_output=1": "a name or a mapping",
    "method.predictor.norm_output={name: iternorm, iteration: 3}": "'iteration' ... 'iterations'?",
    "method.predictor.norm_output={name: iternorm, iterations: 0}": "iterations=0: an integer in",
    "method.projector.norm_output={name: zca, groups: 3}": "output_dim=128 ... use 2: ... groups: 2}'",
    "method.projector.norm_output=zca method.projector.layers=0": "set method.projector.layers=1",
    "norm.projector=in": "one value per channel ... such as norm.projector=ln",
    "norm.predictor=in+ws": "such as norm.predictor=ln",
    "method.projector.norm_output=in": "such as method.projector.norm_output=ln",
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
    "method.predictor.layers=0 method.projector.output_dim=64": "set both to the same",
    "method.name=moco_v2 norm.predictor=none method.queue_size=1000": "the nearest is 1024",
    "method.name=moco_v2 norm.predictor=none norm.view_statistics=joint": "method.symmetric=true",
    # lengths of the run
    "epochs=3 norm.freeze_last_epochs=4": "longer than the run of epochs=3; shorten it",
    "epochs=3 optimizer.warmup_epochs=4": "longer than the run of epochs=3; shorten it",
    "epochs=3 optimizer.schedule_epochs=2": "shorter than the run of epochs=3; leave it out",
    "keep_every=3 checkpoint_every=2": "not a multiple of checkpoint_every=2 ... use keep_every=4",
    "encoder.pretrained_path=/no/such.pt": "there is no such file; name a file of weights",
    "resume=true": "needs run_dir=... ... needs hydra.sweep.dir=...",
    # the verdict
    "monitor.healthy_cosine=0.995": "above complete_cosine=0.99 ... lower the first or raise",
    "monitor.healthy_std=0.01": "below complete_std=0.05 ... raise the first or lower",
}  # fmt: skip
RIGHT = (
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
    "seed=9223372036854775807 optimizer.momentum=0 optimizer.warmup_epochs=0",
    "device=cuda:1 data.resident=true",
    "encoder.pretrained_path=/gone.pt resume=true run_dir=x",
    "monitor.healthy_cosine=0.99 monitor.healthy_std=0.05",
    "augment.view1.extra=[RandomRotation]",
)
THREE = "WORLD_SIZE=3 RANK=0 MASTER_ADDR=localhost MASTER_PORT=29500 "
WRONG_LAUNCH = {
    "WORLD_SIZE=x": "WORLD_SIZE='x': an integer in [1, ... torchrun sets it",
    "WORLD_SIZE=0": "WORLD_SIZE='0': an integer in [1, ",
    "WORLD_SIZE=": "WORLD_SIZE='': an integer in [1, ",
    "WORLD_SIZE=2": "without RANK, MASTER_ADDR, MASTER_PORT: torchrun sets them all",
    "WORLD_SIZE=2 RANK=0 MASTER_PORT=1": "without MASTER_ADDR: torchrun",
    "RANK=x": "RANK='x': an integer in [0, ",
    "RANK=1": "RANK=1 with WORLD_SIZE=1: a rank below it expected",
    "LOCAL_RANK=-1": "LOCAL_RANK='-1': an integer in [0, ",
    f"{THREE} MASTER_PORT=x": "MASTER_PORT='x': an integer in [1, 65535]",
    f"{THREE} batch_size=128": "batch_size=128 ... by 3 processes; use a multiple of 3",
    f"{THREE} batch_size=3": "on 3 process(es): norm.encoder=bn ... use at least 6",
    f"{THREE} batch_size=6 device=cuda:1": "each process takes its own GPU; use device=cuda",
    f"{THREE} batch_size=6 device=mps": "use device=cuda",
    f"{THREE} batch_size=9 norm.projector=domain": "3 samples per process ... use domains: 1 or another batch_size",
}  # fmt: skip
RIGHT_LAUNCH = (
    f"{THREE} batch_size=6 device=cuda",
    f"{THREE} batch_size=9 norm.projector=domain norm.view_statistics=joint",
    f"{THREE} batch_size=6 norm.projector={{name: domain, sync: true}}",
)


@pytest.mark.parametrize("typed", WRONG)
def test_wrong_settings_are_one_line(typed):
    assert_refused("pretrain", typed, WRONG[typed])


@pytest.mark.parametrize("typed", RIGHT)
def test_right_settings_pass(typed):
    accept("pretrain", typed)


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
