"""Checks of tools/finetune.py before anything heavy is imported."""

from collections.abc import Mapping
from pathlib import Path

from ssl_norm.cli.head_checks import norm_spec
from ssl_norm.cli.shared_checks import (
    COUNT,
    FRACTION,
    PAIR,
    POSITIVE,
    RUN_NAMES,
    RUN_NUMBERS,
    WHOLE,
    check_betas,
    check_device,
    check_place,
    check_values,
)
from ssl_norm.cli.split_checks import check_split
from ssl_norm.config import FinetuneConfig, GroupingConfig, ScoringConfig
from ssl_norm.data.augment import check_normalisation, check_view
from ssl_norm.data.corruption.spec import parse_corruption
from ssl_norm.data.settings import check_settings
from ssl_norm.errors import UserError
from ssl_norm.intervals import Interval
from ssl_norm.launch import read_launch
from ssl_norm.models.catalogue import find_encoder
from ssl_norm.norms import NormSpec
from ssl_norm.value_checks import check_name, check_number, check_path

SHARE = Interval(0, 1, "(]")
STATISTICS = ("population", "exact", "batch")
FINETUNE_NUMBERS: Mapping[str, Interval] = {
    **RUN_NUMBERS,
    "steps": COUNT,
    "log_every": COUNT,
    "labels_per_class": COUNT,
    "norm.freeze_last": FRACTION,
    "optimizer.warmup_steps": WHOLE,
    "ubn.ratio": POSITIVE,
    "grouping.chunk": COUNT,
    "grouping.classes": COUNT,
    "evaluation.every": WHOLE,
    "evaluation.limit": COUNT,
    "evaluation.batch_size": PAIR,
    "evaluation.uncertainty": WHOLE,
}


def check_finetune(config: FinetuneConfig) -> None:
    """Raise UserError with one line where a fine-tuning cannot run."""
    check_values(config, FINETUNE_NUMBERS, RUN_NAMES)
    check_settings(vars(config.data))
    check_view(config.augment.view, "augment.view")
    check_normalisation(*config.augment.normalisation)
    check_betas(config.optimizer.betas)
    check_place(config.run_dir, config.resume)
    check_device(config.device)
    if (processes := read_launch().world_size) > 1:
        raise UserError(
            f"finetune runs in one process, and {processes} were started; start it with python"
        )
    check_start(config)
    check_labels(config)
    check_lengths(config)
    check_grouping(config.grouping, config.batch_size)
    check_domains(config)
    if config.norm.encoder is not None:
        check_norm(config, norm_spec("norm.encoder", config.norm.encoder))
    check_scoring(config.evaluation)
    check_images_of_domains(config)
    check_uncertainty(config)


def check_start(config: FinetuneConfig) -> None:
    """Check the checkpoint and the encoder's name."""
    check_path("checkpoint", config.checkpoint, "file or run folder")
    if config.encoder.name is not None:
        find_encoder(config.encoder.name)
    if config.checkpoint is None:
        return
    path = Path(config.checkpoint).expanduser()
    if not path.exists():
        raise UserError(f"checkpoint={path}: there is no such file or run folder")
    if path.is_dir() and not (path / "last.pt").is_file():
        raise UserError(f"checkpoint={path}: a folder without last.pt; name a run or a file")


def check_labels(config: FinetuneConfig) -> None:
    """Check how many images are labelled: a number or a fraction, or a number of each class."""
    labels = config.labels
    if not (labels in PAIR or (isinstance(labels, float) and labels in SHARE)):
        hint = "; all images: labels=1.0" if labels == 1 else ""
        raise UserError(
            f"labels={labels}: a number of images, of at least 2, or a fraction in (0, 1] such as 0.1 expected{hint}"
        )
    if config.labels_per_class is not None and labels != 1.0:
        raise UserError(
            f"labels={labels} and labels_per_class={config.labels_per_class} both say how many images are labelled; "
            "give one of them"
        )


def check_lengths(config: FinetuneConfig) -> None:
    """Check that the warm-up ends within the run."""
    warmup = config.optimizer.warmup_steps
    if warmup > config.steps:
        raise UserError(
            f"optimizer.warmup_steps={warmup} is longer than the run of steps={config.steps}; shorten it"
        )


def check_grouping(grouping: GroupingConfig, batch_size: int) -> None:
    """Check that chunks fill a batch, and classes a chunk."""
    if grouping.chunk is None:
        if grouping.classes != 1 or grouping.shuffle:
            raise UserError(
                "grouping.classes and grouping.shuffle are about chunks of a batch; add grouping.chunk=..., "
                "the images of one"
            )
        return
    if batch_size % grouping.chunk:
        raise UserError(
            f"grouping.chunk={grouping.chunk} does not divide batch_size={batch_size}; use a divisor"
        )
    if grouping.chunk % grouping.classes:
        raise UserError(
            f"grouping.classes={grouping.classes} does not divide grouping.chunk={grouping.chunk}; use a divisor"
        )


def check_domains(config: FinetuneConfig) -> None:
    """Check that a batch has an equal chunk of each domain."""
    parsed = [parse_corruption(domain) for domain in config.domains]
    if len(set(parsed)) < len(parsed):
        raise UserError(f"domains={config.domains}: one of them is named twice; leave it out")
    domains = len(parsed)
    if domains == 1:
        raise UserError(
            f"domains={config.domains}: a mixture has at least two, such as domains=[clean,contrast]"
        )
    if domains and config.batch_size % domains:
        raise UserError(
            f"batch_size={config.batch_size} is not {domains} equal chunks, one for each of the domains; "
            f"use a multiple of {domains}"
        )


def check_norm(config: FinetuneConfig, spec: NormSpec) -> None:
    """Check the encoder's norm against the batch, the unlabelled images and the domains."""
    check_split("norm.encoder", spec, config.batch_size, 1)
    if spec.name == "ubn" and spec.options.get("batch_size") is not None:
        raise UserError(
            f"norm.encoder={spec}: the statistics of a joint batch belong to no ghost batch; leave batch_size out"
        )
    if spec.name == "domain" and not config.domains:
        raise UserError(
            f"norm.encoder={spec} keeps the statistics of domains apart, and domains=[] names none; add "
            "domains=[clean,contrast:5], or use norm.encoder=bn"
        )
    wanted = spec.option("domains")
    if wanted is not None and config.domains and wanted != len(config.domains):
        raise UserError(
            f"norm.encoder={spec} keeps apart {wanted} domains, and domains={config.domains} are "
            f"{len(config.domains)}; use domains: {len(config.domains)}"
        )


def check_scoring(scoring: ScoringConfig) -> None:
    """Check the lists under `evaluation`."""
    for corruption in scoring.corruptions:
        if parse_corruption(corruption) is None:
            raise UserError(
                "evaluation.corruptions: clean test images are scored anyway; leave it out"
            )
    if not scoring.statistics:
        raise UserError(f"evaluation.statistics is empty; name some of {', '.join(STATISTICS)}")
    for name in scoring.statistics:
        check_name("evaluation.statistics", name, STATISTICS)
    if scoring.train and set(scoring.statistics) == {"exact"}:
        raise UserError(
            "evaluation.train=true scores training views under population and batch statistics, and "
            "evaluation.statistics=[exact] names neither; add one"
        )
    for key in ("samples", "batch_sizes", "adapt_samples"):
        values = getattr(scoring, key)
        if not values:
            raise UserError(f"evaluation.{key} is empty; give at least one number of images")
        for value in values:
            check_number(f"evaluation.{key}", value, PAIR)


def check_images_of_domains(config: FinetuneConfig) -> None:
    """Check that statistics are of at least one image of each domain."""
    domains = len(config.domains)
    for key in ("samples", "batch_sizes"):
        fewest = min(getattr(config.evaluation, key))
        if fewest < domains:
            raise UserError(
                f"evaluation.{key}={fewest}: fewer images than the {domains} domains; use at least {domains}"
            )
    if config.labels in COUNT and config.labels < domains:
        raise UserError(
            f"labels={config.labels}: fewer images than the {domains} domains; use at least {domains}"
        )


def check_uncertainty(config: FinetuneConfig) -> None:
    """Check that there will be batch statistics to draw, and several of them."""
    draws, spec = (
        config.evaluation.uncertainty,
        norm_spec("norm.encoder", config.norm.encoder or "bn"),
    )
    if draws == 1:
        raise UserError("evaluation.uncertainty=1: a spread needs at least 2 draws")
    if draws and not spec.batch_statistics:
        raise UserError(
            f"evaluation.uncertainty={draws}: norm.encoder={spec} has no batch statistics to draw; use a batch norm"
        )
    if draws and config.norm.freeze_last:
        raise UserError(
            f"evaluation.uncertainty={draws} with norm.freeze_last={config.norm.freeze_last}: frozen statistics "
            "cannot be drawn; leave one of them out"
        )
