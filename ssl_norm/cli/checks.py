"""Checks of a whole configuration before anything heavy is imported: values, names, impossible combinations."""

from collections.abc import Mapping
from functools import singledispatch
from pathlib import Path

from ssl_norm.cli.finetune_checks import check_finetune
from ssl_norm.cli.head_checks import all_norms, check_heads, norm_spec
from ssl_norm.cli.shared_checks import (
    BELOW_ONE,
    COUNT,
    FRACTION,
    NOT_NEGATIVE,
    PAIR,
    POSITIVE,
    RUN_NAMES,
    RUN_NUMBERS,
    SEED,
    WHOLE,
    check_betas,
    check_device,
    check_place,
    check_values,
)
from ssl_norm.cli.split_checks import check_splits
from ssl_norm.cli.toy_checks import check_toy
from ssl_norm.config import (
    AugmentConfig,
    DiagnoseConfig,
    EvaluationConfig,
    FinetuneConfig,
    LinearEvalConfig,
    MethodConfig,
    MocoV2Config,
    MonitorConfig,
    PopulationStatsConfig,
    PretrainConfig,
    ReportConfig,
    SubjectConfig,
    ToyConfig,
)
from ssl_norm.data import DATA
from ssl_norm.data.augment import check_normalisation, check_view
from ssl_norm.data.settings import check_settings
from ssl_norm.errors import UserError
from ssl_norm.intervals import Interval
from ssl_norm.launch import read_launch
from ssl_norm.learners import METHODS
from ssl_norm.models.catalogue import find_encoder
from ssl_norm.value_checks import check_name, check_number, check_path

PRETRAIN_NUMBERS: Mapping[str, Interval] = {
    **RUN_NUMBERS,
    "epochs": COUNT,
    "accumulate": COUNT,
    "keep_every": COUNT,
    "norm.freeze_last_epochs": WHOLE,
    "monitor.log_every": COUNT,
    "monitor.spectral_every": COUNT,
    "monitor.buffer_size": PAIR,
    "monitor.layers_every": WHOLE,
    "monitor.patience": COUNT,
    "monitor.complete_cosine": Interval(-1, 1, "[)"),
    "monitor.complete_std": BELOW_ONE,
    "monitor.healthy_cosine": Interval(-1, 1, "[)"),
    "monitor.healthy_std": BELOW_ONE,
    "monitor.dimensional_rank": NOT_NEGATIVE,
    "monitor.embeddings": WHOLE,
    "optimizer.warmup_epochs": NOT_NEGATIVE,
    "optimizer.schedule_epochs": COUNT,
    "probe_labels": Interval(0, 1, "(]"),
}
PRETRAIN_NAMES: Mapping[str, tuple[str, ...]] = {
    **RUN_NAMES,
    "norm.view_statistics": ("separate", "joint"),
    "monitor.on_collapse": ("warn", "stop", "rollback", "ignore"),
}
METHOD_NUMBERS: Mapping[str, Interval] = {
    "temperature": POSITIVE,
    "queue_size": COUNT,
    "ema_decay": FRACTION,
}
METHOD_NAMES: Mapping[str, tuple[str, ...]] = {"ema_schedule": ("cosine", "constant")}
EVALUATION_NUMBERS: Mapping[str, Interval] = {
    "labels": Interval(0, 1, "(]"),
    "knn.k": COUNT,
    "knn.temperature": POSITIVE,
    "sgd.lr": POSITIVE,
    "sgd.epochs": COUNT,
    "sgd.batch_size": COUNT,
    "sgd.momentum": BELOW_ONE,
    "sgd.weight_decay": NOT_NEGATIVE,
}
EVALUATION_NAMES: Mapping[str, tuple[str, ...]] = {"protocol": ("logistic", "sgd")}
SUBJECT_NUMBERS: Mapping[str, Interval] = {"batch_size": COUNT, "seed": SEED}
SUBJECT_NAMES: Mapping[str, tuple[str, ...]] = {"data.name": tuple(DATA)}


@singledispatch
def check(config: object) -> None:
    """Raise UserError with one line where a composed configuration cannot run."""
    raise TypeError(f"no checks for {type(config).__name__}")


@check.register
def _(config: PretrainConfig) -> None:
    check_values(config, PRETRAIN_NUMBERS, PRETRAIN_NAMES)
    check_settings(vars(config.data))
    check_view(config.augment.view1, "augment.view1")
    check_view(config.augment.view2, "augment.view2")
    check_normalisation(config.augment.mean, config.augment.std)
    check_encoder(config)
    check_thresholds(config.monitor)
    check_schedule(config)
    check_run_folder(config)
    processes = check_processes(config)
    check_method_values(config.method)
    check_heads(config)
    check_batch(config, processes)
    check_splits(config, processes)
    if isinstance(config.method, MocoV2Config):
        check_queue(config, config.method)


@check.register
def _(config: FinetuneConfig) -> None:
    check_finetune(config)


@check.register
def _(config: LinearEvalConfig) -> None:
    check_evaluation("linear_eval", config)
    check_name("network", config.network, ("online", "target"))
    check_path("output", config.output, "file")


@check.register
def _(config: PopulationStatsConfig) -> None:
    check_evaluation("population_stats", config)
    check_path("output", config.output, "file")
    check_name("views", config.views, ("train", "plain"))
    check_number("samples", config.samples, PAIR)
    check_number("batch_size", config.batch_size, PAIR)


@check.register
def _(config: ReportConfig) -> None:
    check_path("output", config.output, "folder")
    check_texts("runs", config.runs, "a folder")
    check_texts("group_by", config.group_by, "a key, such as norm.projector")


@check.register
def _(config: ToyConfig) -> None:
    check_toy(config)


@check.register
def _(config: DiagnoseConfig) -> None:
    check_subject("diagnose", config)
    check_path("output", config.output, "file")
    check_number("samples", config.samples, PAIR)
    check_number("views", config.views, PAIR)
    check_number("batch_size", config.batch_size, PAIR)


def check_evaluation(tool: str, config: EvaluationConfig) -> None:
    """Check what the tools that score a checkpoint share."""
    check_values(config, EVALUATION_NUMBERS, EVALUATION_NAMES)
    check_subject(tool, config)


def check_subject(tool: str, config: SubjectConfig) -> None:
    """Check what the tools that look at a checkpoint share."""
    check_values(config, SUBJECT_NUMBERS, SUBJECT_NAMES)
    check_settings(vars(config.data))
    check_device(config.device)
    check_path("checkpoint", config.checkpoint, "file or run folder")
    if config.encoder.name is not None:
        find_encoder(config.encoder.name)
    if config.norm.encoder is not None:
        norm_spec("norm.encoder", config.norm.encoder)
    usual = AugmentConfig()
    mean, std = config.augment.mean, config.augment.std
    check_normalisation(usual.mean if mean is None else mean, usual.std if std is None else std)
    if (processes := read_launch().world_size) > 1:
        raise UserError(
            f"{tool} runs in one process, and {processes} were started; start it with python"
        )


def check_texts(key: str, value: object, kind: str) -> None:
    """Check that a value is a text or several; `kind` says what one stands for. Null always passes."""
    texts = value if isinstance(value, list) else [value]
    if value is not None and not (texts and all(isinstance(t, str) and t.strip() for t in texts)):
        raise UserError(f"{key}={value}: {kind} expected, or several in [ ]")


def check_encoder(config: PretrainConfig) -> None:
    """Check the keys under `encoder`; a run that goes on has its weights from its checkpoint."""
    find_encoder(config.encoder.name)
    path = config.encoder.pretrained_path
    check_path("encoder.pretrained_path", path, "file of weights")
    if path is not None and not config.resume and not Path(path).expanduser().is_file():
        raise UserError(
            f"encoder.pretrained_path={path}: there is no such file; name a file of weights, such as a run's last.pt"
        )


def check_thresholds(monitor: MonitorConfig) -> None:
    """Check that healthy embeddings spread at least as far as collapsed ones."""
    cosine, std = monitor.complete_cosine, monitor.complete_std
    if monitor.healthy_cosine > cosine:
        raise UserError(
            f"monitor.healthy_cosine={monitor.healthy_cosine:g} is above monitor.complete_cosine={cosine:g}, and "
            "embeddings would be healthy and collapsed at once; lower the first or raise the second"
        )
    if monitor.healthy_std < std:
        raise UserError(
            f"monitor.healthy_std={monitor.healthy_std:g} is below monitor.complete_std={std:g}, and "
            "embeddings would be healthy and collapsed at once; raise the first or lower the second"
        )


def check_schedule(config: PretrainConfig) -> None:
    """Check lengths against each other, and AdamW's two decays."""
    check_betas(config.optimizer.betas)
    length = config.optimizer.schedule_epochs
    if length is not None and length < config.epochs:
        raise UserError(
            f"optimizer.schedule_epochs={length} is shorter than the run of epochs={config.epochs}; leave it out"
        )
    warmup = config.optimizer.warmup_epochs
    if warmup > config.epochs:
        raise UserError(
            f"optimizer.warmup_epochs={warmup} is longer than the run of epochs={config.epochs}; shorten it"
        )
    frozen = config.norm.freeze_last_epochs
    if frozen > config.epochs:
        raise UserError(
            f"norm.freeze_last_epochs={frozen} is longer than the run of epochs={config.epochs}; shorten it"
        )


def check_run_folder(config: PretrainConfig) -> None:
    """Check what is written where and when."""
    check_place(config.run_dir, config.resume)
    every, keep = config.checkpoint_every, config.keep_every
    if keep is not None and keep % every:
        raise UserError(
            f"keep_every={keep} is not a multiple of checkpoint_every={every}, and only what is written can be kept; "
            f"use keep_every={-(-keep // every) * every}"
        )


def check_processes(config: PretrainConfig) -> int:
    """Check device and batch against the number of processes, and return that number."""
    check_device(config.device)
    processes = read_launch().world_size
    if processes > 1 and config.device.startswith(("cuda:", "mps")):
        raise UserError(
            f"device={config.device} with {processes} processes: each process takes its own GPU; use device=cuda"
        )
    if config.batch_size % processes:
        raise UserError(
            f"batch_size={config.batch_size} cannot be shared equally by {processes} processes; "
            f"use a multiple of {processes}"
        )
    return processes


def check_method_values(method: MethodConfig) -> None:
    """Check the name and the values under `method`."""
    schema = type(method).name
    if method.name != schema:
        others = method.name if method.name in METHODS else " or method=".join(METHODS)
        raise UserError(
            f"method.name={method.name} under the keys of {schema}: use method={others}"
        )
    for name, interval in METHOD_NUMBERS.items():
        check_number(f"method.{name}", getattr(method, name, None), interval)
    for name, known in METHOD_NAMES.items():
        check_name(f"method.{name}", getattr(method, name, None), known)


def check_batch(config: PretrainConfig, processes: int) -> None:
    """Check that each process has two images to compare."""
    if config.batch_size // processes >= 2:
        return
    mixing = [f"{key}={spec}" for key, spec in all_norms(config).items() if spec.batch_statistics]
    reason = (
        f"{mixing[0]} has no batch statistics on one image"
        if mixing
        else "negatives need a second image"
    )
    raise UserError(
        f"batch_size={config.batch_size} on {processes} process(es): {reason}; use at least {2 * processes}"
    )


def check_queue(config: PretrainConfig, method: MocoV2Config) -> None:
    """Check MoCo's queue against the batch, and its networks against the norms."""
    if config.norm.view_statistics == "joint" and not method.symmetric:
        raise UserError(
            "norm.view_statistics=joint: each of MoCo's networks sees one view; add method.symmetric=true"
        )
    enqueued = config.batch_size * (2 if method.symmetric else 1)
    if method.queue_size % enqueued:
        nearest = max(1, round(method.queue_size / enqueued)) * enqueued
        raise UserError(
            f"method.queue_size={method.queue_size} is not a multiple of the {enqueued} keys that a batch brings; "
            f"the nearest is {nearest}"
        )
