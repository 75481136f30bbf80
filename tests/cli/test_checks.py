"""Every check of a value, on configurations as the command line composes them."""

from copy import deepcopy
from functools import cache

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from ssl_norm.cli.checks import check
from ssl_norm.cli.entry import register_schemas, typed_config
from ssl_norm.cli.groups import CONFIG_FOLDER
from ssl_norm.errors import UserError

THREE_PROCESSES = ("WORLD_SIZE=3", "RANK=0", "MASTER_ADDR=localhost", "MASTER_PORT=29500")
WRONG = {
    # data
    "data.name=foldr": "did you mean 'folder'?",
    "data.on_corrupt=skp": "did you mean 'skip'?",
    "data.resident=maybe": "known: auto, true, false",
    "data.resident=[1]": "unknown data.resident '[1]'",
    "data.root=": "data.root is empty; name the folder",
    "data.root=''": "data.root is empty; name the folder",
    "data.cache_dir=": "data.cache_dir is empty; name the folder",
    "data.image_size=4": "data.image_size=4: an integer of at least 8 expected",
    "data.cache_size=-8": "data.cache_size=-8: an integer of at least 8 expected",
    "data.workers=-1": "data.workers=-1: an integer of at least 0 expected",
    "data.limit=1": "data.limit=1: an integer of at least 2 expected",
    "data.test_fraction=1": "data.test_fraction=1.0: a number in (0, 1) expected",
    "data.test_fraction=nan": "a number in (0, 1) expected",
    # augmentation
    "augment.view1.blur=2": "blur",
    "augment.view1.jitter=nan": "augment.view1.jitter",
    "augment.view1.crop_area=[0.5,0.1]": "crop_area",
    "augment.mean=[0.5,0.5]": "augment.mean: three values expected",
    "augment.std=[0,1,1]": "augment.std: values above 0 expected",
    # encoder
    "encoder.name=resnet1888": "unknown encoder",
    "encoder.name=": "unknown encoder ''",
    "encoder.pretrained_path=": "encoder.pretrained_path is empty; name the file",
    "encoder.pretrained_path=/no/such.pt": "encoder.pretrained_path=/no/such.pt: there is no such file",
    # norms
    "norm.encoder=bm": "norm.encoder: unknown norm 'bm'",
    "norm.encoder=null": "norm.encoder: a norm is a name or a mapping",
    "norm.encoder={}": "norm.encoder: a norm given as a mapping needs 'name'",
    "norm.encoder=[bn]": "norm.encoder: a norm is a name or a mapping",
    "norm.encoder={name: bn, eps: 0}": "norm.encoder: norm 'bn': eps=0: a number above 0 expected",
    "norm.encoder={name: bn, eps: nan}": "norm 'bn': eps=nan: a number above 0 expected",
    "norm.encoder={name: bn, update_rate: 2}": "norm 'bn': update_rate=2: a number in (0, 1] expected",
    "norm.encoder={name: ln, affine: 1}": "norm 'ln': affine=1: true or false expected",
    "norm.encoder={name: gn, groups: 2.5}": "norm 'gn': groups=2.5: an integer of at least 1 expected",
    "norm.projector=gn+sw": "did you mean 'gn+ws'?",
    "norm.projector={name: gn, group: 16}": "did you mean 'groups'?",
    "norm.projector={name: gn, groups: x}": "norm.projector: norm 'gn': groups=x: an integer",
    "norm.projector={name: gn, groups: 0}": "norm 'gn': groups=0: an integer of at least 1",
    "norm.projector={name: gn, groups: 7}": "7 groups do not divide it; 4 would do: "
    "norm.projector='{name: gn, groups: 4}'",
    "norm.predictor={name: gn+ws, groups: 256}": "method.predictor.hidden_dim=256: 256 groups hold one value each",
    "norm.predictor=gn method.predictor.hidden_dim=32": "32 groups hold one value each, which becomes 0 "
    "whatever it was; 16 would do: norm.predictor='{name: gn, groups: 16}'",
    "method.projector.norm_output=iternrm": "method.projector.norm_output: unknown norm 'iternrm'; known: none, ",
    "method.projector.norm_output=zka": "did you mean 'zca'?",
    "method.projector.norm_output=1": "method.projector.norm_output: a norm is a name or a mapping",
    "method.predictor.norm_output={name: iternorm, iteration: 3}": "did you mean 'iterations'?",
    "method.predictor.norm_output={name: iternorm, iterations: 0}": "norm 'iternorm': iterations=0: an integer of",
    "method.projector.norm_output={name: zca, groups: 3}": "method.projector.norm_output=zca(groups=3) with "
    "method.projector.output_dim=128: 3 groups do not divide it; 2 would do: "
    "method.projector.norm_output='{name: zca, groups: 2}'",
    "method.projector.norm_output=zca method.projector.layers=0": "method.projector.norm_output=zca: a head of 0 "
    "layers has no output layer; set method.projector.layers=1",
    "norm.projector={name: zca, groups: 7}": "7 groups do not divide it; 4 would do",
    "norm.encoder=ln norm.projector=ln norm.predictor=none method.projector.norm_output=zca batch_size=1":
    "method.projector.norm_output=zca has no batch statistics on one image; use at least 2",
    "norm.projector=in": "norm.projector=in: a head has one value per channel of a sample, which 'in' makes 0 "
    "whatever it was; use another norm there, such as norm.projector=ln",
    "norm.predictor=in+ws": "such as norm.predictor=ln",
    "method.projector.norm_output=in": "such as method.projector.norm_output=ln",
    "norm.projector={name: ghost, batch_size: 127}": "of 128 samples the last ghost batch has one, and no statistics "
    "in a head; 126 would do: norm.projector='{name: ghost, batch_size: 126}'",
    "norm.predictor={name: rbn, batch_size: 1}": "2 would do: norm.predictor='{name: rbn, batch_size: 2}'",
    "norm.projector=ghost batch_size=33": "33 samples the last ghost batch has one",
    "norm.encoder={name: domain, domains: 3}": "the 128 samples that a process passes at once are not 3 "
    "equal chunks, one for each domain; use domains: 2 or another batch_size",
    "norm.encoder=domain batch_size=33": "use domains: 1 or another batch_size",
    "norm.projector=domain batch_size=2": "1 sample(s) of a domain have no batch statistics in a head",
    "norm.view_statistics=jont": "did you mean 'joint'?",
    "norm.freeze_last_epochs=-1": "norm.freeze_last_epochs=-1: an integer of at least 0 expected",
    "epochs=3 norm.freeze_last_epochs=4": "norm.freeze_last_epochs=4 is longer than the run of epochs=3; shorten it",
    # method
    "method=moco_v2 method.queue_size=1000": "the nearest is 1024",
    "method=moco_v2 method.queue_size=0": "method.queue_size=0: an integer of at least 1 expected",
    "method=moco_v2 norm.predictor=bn": "moco_v2 has no predictor",
    "method=moco_v2 norm.view_statistics=joint": "method.symmetric=true",
    "method=simclr method.temperature=inf": "method.temperature=inf: a number above 0 expected",
    "method.ema_schedule=cos": "did you mean 'cosine'?",
    "method.ema_decay=1.5": "method.ema_decay=1.5: a number in [0, 1] expected",
    "method.ema_decay=nan": "method.ema_decay=nan: a number in [0, 1] expected",
    "method.projector.layers=-1": "method.projector.layers=-1: an integer of at least 0 expected",
    "method.projector.hidden_dim=0": "method.projector.hidden_dim=0: an integer of at least 2",
    "method.predictor.output_dim=64": "method.predictor.output_dim=64 differs from method.projector.output_dim=128",
    "method.predictor.layers=0 method.projector.output_dim=64": "set both to the same",
    # optimizer
    "optimizer.name=sdg": "did you mean 'sgd'?",
    "optimizer.lr=-1": "optimizer.lr=-1.0: a number above 0 expected",
    "optimizer.lr=nan": "optimizer.lr=nan: a number above 0 expected",
    "optimizer.lr=inf": "optimizer.lr=inf: a number above 0 expected",
    "optimizer.momentum=1": "optimizer.momentum=1.0: a number in [0, 1) expected",
    "optimizer.weight_decay=-1e-4": "optimizer.weight_decay=-0.0001: a number of at least 0",
    "optimizer.weight_decay=inf": "optimizer.weight_decay=inf: a number of at least 0",
    "optimizer.lars_eta=0": "optimizer.lars_eta=0.0: a number above 0",
    "optimizer.betas=[0.9]": "optimizer.betas: two numbers in [0, 1) expected, got [0.9]",
    "optimizer.betas=[0.9,1]": "optimizer.betas: two numbers in [0, 1) expected, got [0.9, 1.0]",
    "optimizer.warmup_epochs=nan": "optimizer.warmup_epochs=nan: a number of at least 0",
    "epochs=3 optimizer.warmup_epochs=4": "optimizer.warmup_epochs=4.0 is longer than the run of epochs=3",
    "epochs=3 optimizer.schedule_epochs=2": "optimizer.schedule_epochs=2 is shorter than the run of epochs=3",
    "optimizer.schedule_epochs=0": "optimizer.schedule_epochs=0: an integer of at least 1 expected",
    # run
    "epochs=0": "epochs=0: an integer of at least 1 expected",
    "probe_labels=0": "probe_labels=0.0: a number in (0, 1] expected",
    "accumulate=0": "accumulate=0: an integer of at least 1 expected",
    "batch_size=-2": "batch_size=-2: an integer of at least 1 expected",
    "batch_size=1": "norm.encoder=bn has no batch statistics on one image; use at least 2",
    "seed=-1": "seed=-1: an integer in [0, 9223372036854775807] expected",
    "seed=9223372036854775808": "seed=9223372036854775808: an integer in [0, ",
    "keep_every=3 checkpoint_every=2": "keep_every=3 is not a multiple of checkpoint_every=2, "
    "and only what is written can be kept; use keep_every=4",
    "monitor.on_collapse=stpo": "did you mean 'stop'?",
    "monitor.healthy_cosine=0.995": "monitor.healthy_cosine=0.995 is above monitor.complete_cosine=0.99, and "
    "embeddings would be healthy and collapsed at once; lower the first or raise the second",
    "monitor.healthy_std=0.01": "monitor.healthy_std=0.01 is below monitor.complete_std=0.05, and embeddings "
    "would be healthy and collapsed at once; raise the first or lower the second",
    "monitor.complete_cosine=1.5": "monitor.complete_cosine=1.5: a number in [-1, 1) expected",
    "monitor.patience=0": "monitor.patience=0: an integer of at least 1",
    "monitor.log_every=0": "monitor.log_every=0: an integer of at least 1",
    "precision=fp16": "unknown precision 'fp16'",
    "device=gpu": "device: 'gpu' is no device; expected auto, cpu, cuda, cuda:<number> or mps",
    "device=cuda:x": "device: 'cuda:x' is no device",
    "device=": "device: '' is no device",
    "run_dir=": "run_dir is empty; name the folder",
    "resume=true": "resume=true needs run_dir=...",
}  # fmt: skip
WRONG_EVALUATION = {
    "checkpoint=": "checkpoint is empty; name the file or run folder",
    "data.root=": "data.root is empty",
    "data.test_fraction=0": "a number in (0, 1) expected",
    "augment.mean=[0.5,0.5]": "augment.mean: three values expected",
    "augment.std=[0,1,1]": "augment.std: values above 0 expected",
    "encoder.name=nope": "unknown encoder 'nope'",
    "norm.encoder={name: gn, groups: x}": "norm 'gn': groups=x: an integer",
    "protocol=svm": "unknown protocol 'svm'; known: logistic, sgd",
    "labels=0": "labels=0.0: a number in (0, 1] expected",
    "labels=nan": "labels=nan: a number in (0, 1] expected",
    "knn.k=0": "knn.k=0: an integer of at least 1",
    "knn.temperature=inf": "knn.temperature=inf: a number above 0",
    "sgd.lr=nan": "sgd.lr=nan: a number above 0",
    "sgd.batch_size=0": "sgd.batch_size=0: an integer of at least 1",
    "sgd.momentum=1": "sgd.momentum=1.0: a number in [0, 1)",
    "sgd.weight_decay=-1": "sgd.weight_decay=-1.0: a number of at least 0",
    "seed=-1": "seed=-1: an integer in [0, 9223372036854775807]",
    "batch_size=0": "batch_size=0: an integer of at least 1",
    "device=tpu": "device: 'tpu' is no device",
    "output=": "output is empty; name the file",
}  # fmt: skip
WRONG_LAUNCH = {
    ("WORLD_SIZE=x",): "the environment has WORLD_SIZE='x': an integer of at least 1 expected; torchrun sets it",
    ("WORLD_SIZE=0",): "WORLD_SIZE='0': an integer of at least 1",
    ("WORLD_SIZE=",): "WORLD_SIZE='': an integer of at least 1",
    ("WORLD_SIZE=2",): "WORLD_SIZE=2 without RANK, MASTER_ADDR, MASTER_PORT: torchrun sets them all",
    ("WORLD_SIZE=2", "RANK=0", "MASTER_PORT=1"): "WORLD_SIZE=2 without MASTER_ADDR: torchrun",
    ("RANK=x",): "RANK='x': an integer of at least 0",
    ("RANK=1",): "RANK=1 with WORLD_SIZE=1: a rank below it expected",
    ("LOCAL_RANK=-1",): "LOCAL_RANK='-1': an integer of at least 0",
    (*THREE_PROCESSES, "MASTER_PORT=x"): "MASTER_PORT='x': an integer in [1, 65535]",
    THREE_PROCESSES: "batch_size=128 cannot be shared equally by 3 processes; use a multiple of 3",
    (*THREE_PROCESSES, "batch_size=3"): "on 3 process(es): norm.encoder=bn has no batch statistics on one image",
    (*THREE_PROCESSES, "batch_size=6", "device=cuda:1"): "each process takes its own GPU; use device=cuda",
    (*THREE_PROCESSES, "batch_size=6", "device=mps"): "each process takes its own GPU; use device=cuda",
}  # fmt: skip
RIGHT = (
    ["norm.encoder=gn+ws"],
    ["norm.projector=gn+ws", "norm.predictor={name: gn, groups: 4, eps: 1e-3, affine: false}"],
    ["norm.encoder={name: bn, update_rate: 1}"],
    ["norm.encoder={name: domain, domains: 4, batch_size: 31}", "norm.projector=domain"],
    ["norm.encoder={name: ghost, batch_size: 127}", "norm.predictor=ghost"],
    ["norm.encoder=in", "method.projector.layers=1", "norm.projector=in"],
    ["batch_size=3", "norm.view_statistics=joint", "norm.projector=domain"],
    ["method.projector.norm_output=iternorm", "method.predictor.norm_output=none"],
    ["method.projector.norm_output={name: zca, groups: 128, affine: false}", "norm.projector=zca"],
    ["method.projector.layers=0", "method.projector.norm_output=true"],
    ["method.predictor.layers=0", "norm.predictor=none"],
    ["method.projector.layers=0"],
    ["data.name=folder", "data.root=/photos"],
    ["keep_every=4", "checkpoint_every=2"],
    ["seed=9223372036854775807", "optimizer.momentum=0", "optimizer.warmup_epochs=0"],
    ["device=cuda:1", "data.resident=true"],
)


@cache
def composed(tool: str, *overrides: str) -> DictConfig:
    register_schemas()
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        return compose(tool, list(overrides))


def check_with(tool: str, arguments: list[str]) -> None:
    """Check a tool's configuration; `method=` and `checkpoint=` choose what it starts from."""
    start = [given for given in arguments if given.startswith(("method=", "checkpoint=x"))]
    config = deepcopy(composed(tool, *start))
    for override in OverridesParser.create().parse_overrides(
        [given for given in arguments if given not in start]
    ):
        OmegaConf.update(config, override.key_or_group, override.value())
    check(typed_config(config))


def split(arguments: str) -> list[str]:
    return [arguments] if "{" in arguments else arguments.split(" ")


def assert_refused(tool: str, arguments: list[str], message: str) -> None:
    with pytest.raises(UserError) as refusal:
        check_with(tool, arguments)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


WRONG_POPULATION = {
    "samples=1": "samples=1: an integer of at least 2 expected",
    "batch_size=1": "batch_size=1: an integer of at least 2 expected",
    "views=trian": "unknown views 'trian'; known: train, plain; did you mean 'train'?",
    "output=''": "output is empty",
    "labels=2": "labels=2.0: ",
}


@pytest.fixture(autouse=True)
def _one_process(monkeypatch):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("arguments", WRONG)
def test_wrong_values_are_one_line(arguments):
    assert_refused("pretrain", split(arguments), WRONG[arguments])


@pytest.mark.parametrize("arguments", WRONG_EVALUATION)
def test_wrong_values_of_linear_eval(arguments):
    given = split(arguments) if "checkpoint" in arguments else ["checkpoint=x", *split(arguments)]
    assert_refused("linear_eval", given, WRONG_EVALUATION[arguments])


@pytest.mark.parametrize("arguments", WRONG_POPULATION)
def test_wrong_values_of_population_stats(arguments):
    given = ["checkpoint=x", *split(arguments)]
    assert_refused("population_stats", given, WRONG_POPULATION[arguments])


def start(monkeypatch, given):
    """Set what stands in capitals in the environment, and return the rest."""
    environment = [pair for pair in given if pair[0].isupper()]
    for name, value in (pair.split("=") for pair in environment):
        monkeypatch.setenv(name, value)
    return [pair for pair in given if pair not in environment]


@pytest.mark.parametrize("given", WRONG_LAUNCH, ids=" ".join)
def test_wrong_launch(monkeypatch, given):
    assert_refused("pretrain", start(monkeypatch, given), WRONG_LAUNCH[given])


def test_linear_eval_is_for_one_process(monkeypatch):
    start(monkeypatch, THREE_PROCESSES)
    message = "linear_eval runs in one process, and 3 were started"
    assert_refused("linear_eval", ["checkpoint=x"], message)


@pytest.mark.parametrize("arguments", RIGHT, ids=" ".join)
def test_right_values_pass(arguments):
    check_with("pretrain", arguments)


def test_a_group_of_processes_passes(monkeypatch):
    check_with("pretrain", [*start(monkeypatch, THREE_PROCESSES), "batch_size=6", "device=cuda"])


def test_pretrained_file_may_be_gone_when_a_run_goes_on():
    check_with("pretrain", ["encoder.pretrained_path=/gone.pt", "resume=true", "run_dir=x"])
