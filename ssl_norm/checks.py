"""Checks of a whole configuration before anything heavy is imported: values, names, impossible combinations."""

import os
from collections.abc import Iterable
from functools import singledispatch
from typing import Any

from ssl_norm.config import (
    ByolConfig,
    DataConfig,
    DataOverride,
    HeadConfig,
    LinearEvalConfig,
    MethodConfig,
    MocoV2Config,
    OptimizerConfig,
    PretrainConfig,
    SimclrConfig,
)
from ssl_norm.data import DATA
from ssl_norm.data.augment import check_normalisation, check_view
from ssl_norm.errors import UserError
from ssl_norm.models.catalogue import find_encoder
from ssl_norm.names import unknown_name
from ssl_norm.norms import NormSpec, parse_norm


@singledispatch
def check(config: object) -> None:
    """Raise UserError with one line where a composed configuration cannot run."""
    raise TypeError(f"no checks for {type(config).__name__}")


@check.register
def _(config: PretrainConfig) -> None:
    check_data(config.data)
    find_encoder(config.encoder.name)
    check_view(config.augment.view1, "augment.view1")
    check_view(config.augment.view2, "augment.view2")
    check_normalisation(config.augment.mean, config.augment.std)
    check_optimizer(config.optimizer)
    known("precision", config.precision, ("auto", "float32", "bfloat16"))
    known("monitor.on_collapse", config.monitor.on_collapse, ("warn", "stop", "ignore"))
    at_least(1, epochs=config.epochs, batch_size=config.batch_size, accumulate=config.accumulate)
    at_least(
        1,
        **{
            "monitor.log_every": config.monitor.log_every,
            "monitor.patience": config.monitor.patience,
        },
    )
    at_least(1, checkpoint_every=config.checkpoint_every, keep_every=config.keep_every)
    at_least(0, seed=config.seed)
    if config.resume and config.run_dir is None:
        raise UserError("resume=true needs run_dir=..., the folder of the run to go on with")
    if not -1 <= config.monitor.threshold < 1:
        raise UserError(
            f"monitor.threshold: a cosine below 1 expected, got {config.monitor.threshold:g}"
        )
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    if config.batch_size % ranks:
        raise UserError(
            f"batch_size={config.batch_size} cannot be shared equally by {ranks} processes"
        )
    check_norms(config, ranks)
    check_method(config)


@check.register
def _(config: LinearEvalConfig) -> None:
    check_data(config.data)
    if config.encoder.name is not None:
        find_encoder(config.encoder.name)
    if config.norm.encoder is not None:
        norm_spec("norm.encoder", config.norm.encoder)
    known("protocol", config.protocol, ("logistic", "sgd"))
    if not 0 < config.labels <= 1:
        raise UserError(f"labels: a fraction in (0, 1] expected, got {config.labels:g}")
    at_least(
        1, batch_size=config.batch_size, **{"knn.k": config.knn.k, "sgd.epochs": config.sgd.epochs}
    )
    positive(**{"knn.temperature": config.knn.temperature, "sgd.lr": config.sgd.lr})


def check_data(data: DataConfig | DataOverride) -> None:
    """Check the keys under `data`."""
    known("data.name", data.name, DATA)
    known("data.on_corrupt", data.on_corrupt, ("stop", "skip"))
    known("data.resident", data.resident, ("auto", "true", "false"))
    at_least(8, **{"data.image_size": data.image_size, "data.cache_size": data.cache_size})
    at_least(0, **{"data.workers": data.workers})
    at_least(2, **{"data.limit": data.limit})
    if data.test_fraction is not None and not 0 < data.test_fraction < 1:
        raise UserError(
            f"data.test_fraction: a fraction in (0, 1) expected, got {data.test_fraction:g}"
        )


def check_optimizer(optimizer: OptimizerConfig) -> None:
    """Check the keys under `optimizer`."""
    known("optimizer.name", optimizer.name, ("sgd", "lars", "adamw"))
    known("optimizer.schedule", optimizer.schedule, ("cosine", "constant"))
    positive(**{"optimizer.lr": optimizer.lr, "optimizer.lars_eta": optimizer.lars_eta})
    at_least(
        0,
        **{
            "optimizer.weight_decay": optimizer.weight_decay,
            "optimizer.warmup_epochs": optimizer.warmup_epochs,
            "optimizer.momentum": optimizer.momentum,
        },
    )


def check_norms(config: PretrainConfig, ranks: int) -> None:
    """Check the three norms against each other, the heads and the batch."""
    known("norm.view_statistics", config.norm.view_statistics, ("separate", "joint"))
    specs = {
        part: norm_spec(f"norm.{part}", getattr(config.norm, part))
        for part in ("encoder", "projector", "predictor")
    }
    if not isinstance(config.method, ByolConfig) and specs["predictor"].name != "none":
        raise UserError(
            f"norm.predictor={specs['predictor']}: {config.method.name} has no predictor; leave it at none"
        )
    for part in ("projector", "predictor"):
        head = getattr(config.method, part, None)
        if head is not None:
            check_head(f"method.{part}", head)
            check_groups(f"norm.{part}", specs[part], head)
    mixing = [f"norm.{part}={spec}" for part, spec in specs.items() if spec.batch_statistics]
    if config.batch_size // ranks < 2:
        reason = (
            f"{mixing[0]} has no batch statistics on one image"
            if mixing
            else "negatives need a second image"
        )
        raise UserError(
            f"batch_size={config.batch_size} on {ranks} process(es): {reason}; use at least {2 * ranks}"
        )


def check_head(key: str, head: HeadConfig) -> None:
    """Check the sizes of an MLP head."""
    at_least(1, **{f"{key}.layers": head.layers, f"{key}.hidden_dim": head.hidden_dim})
    at_least(2, **{f"{key}.output_dim": head.output_dim})


def check_groups(key: str, spec: NormSpec, head: HeadConfig) -> None:
    """Check that a head's widths divide into the groups of its norm."""
    if spec.name != "gn":
        return
    groups = spec.options.get("groups", 32)
    widths = {"hidden_dim": head.hidden_dim} if head.layers > 1 else {}
    if head.norm_output:
        widths["output_dim"] = head.output_dim
    for name, width in widths.items():
        if width % groups:
            divisor = next(
                count for count in range(min(groups, width), 0, -1) if width % count == 0
            )
            raise UserError(
                f"{key}={spec}: {groups} groups do not divide {name}={width}; {divisor} groups would: "
                f"{key}='{{name: gn, groups: {divisor}}}'"
            )


def check_method(config: PretrainConfig) -> None:
    """Check the keys under `method` against each other and the batch."""
    method: MethodConfig = config.method
    if isinstance(method, SimclrConfig | MocoV2Config):
        positive(**{"method.temperature": method.temperature})
    if isinstance(method, ByolConfig | MocoV2Config):
        known("method.ema_schedule", method.ema_schedule, ("cosine", "constant"))
        if not 0 <= method.ema_decay <= 1:
            raise UserError(f"method.ema_decay: expected [0, 1], got {method.ema_decay:g}")
    if isinstance(method, MocoV2Config):
        if config.norm.view_statistics == "joint" and not method.symmetric:
            raise UserError(
                "norm.view_statistics=joint: each of MoCo's networks sees one view; add method.symmetric=true"
            )
        enqueued = config.batch_size * (2 if method.symmetric else 1)
        if method.queue_size < enqueued or method.queue_size % enqueued:
            nearest = max(1, round(method.queue_size / enqueued)) * enqueued
            raise UserError(
                f"method.queue_size={method.queue_size} is not a multiple of the {enqueued} keys that a batch brings; "
                f"the nearest is {nearest}"
            )


def norm_spec(key: str, value: Any) -> NormSpec:
    """Return the norm that a key names."""
    try:
        return parse_norm(value)
    except (ValueError, TypeError) as error:
        raise UserError(f"{key}: {error}") from error


def known(key: str, value: object, names: Iterable[str]) -> None:
    """Check that a given value is one of the known names; null is no value, true and false are names."""
    name = str(value).lower() if isinstance(value, bool) else value
    if value is not None and name not in (names := list(names)):
        raise UserError(unknown_name(key, name, names))


def at_least(minimum: int, **values: float | None) -> None:
    """Check that no given value is below the minimum; null is no value."""
    for key, value in values.items():
        if value is not None and not value >= minimum:
            raise UserError(f"{key}={value:g}: at least {minimum} expected")


def positive(**values: float) -> None:
    """Check that every value is above zero."""
    for key, value in values.items():
        if not value > 0:
            raise UserError(f"{key}={value:g}: a value above 0 expected")
