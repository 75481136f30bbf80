"""tools/linear_eval.py: from a checkpoint to linear_eval.json and a table."""

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from ssl_norm.config import EvaluationConfig, LinearEvalConfig
from ssl_norm.data.image_set import ImageSet
from ssl_norm.errors import UserError
from ssl_norm.evaluate.features import evaluation_mode
from ssl_norm.evaluate.protocol import Evaluation, evaluate_encoder
from ssl_norm.evaluate.report import evaluation_record, evaluation_table
from ssl_norm.evaluate.subject import Subject, find_subject
from ssl_norm.models.load import load_encoder_weights, read_checkpoint
from ssl_norm.train.build import load_images, make_encoder
from ssl_norm.train.checkpoint import FORMAT
from ssl_norm.train.device import pick_device
from ssl_norm.train.environment import describe_environment
from ssl_norm.train.run_folder import write_json

FOREIGN_MATCH = 0.9  # of an encoder's tensors; a file of ours must hold them all


def linear_eval(config: LinearEvalConfig) -> None:
    """Evaluate the encoder of a checkpoint, write linear_eval.json and print a table.

    Raises:
        UserError: the checkpoint, the data or the settings do not allow it.
    """
    device = pick_device(config.device)
    checkpoint = find_checkpoint(config.checkpoint)
    output = find_output(config.output, checkpoint, "linear_eval.json")
    contents = read_checkpoint(checkpoint)
    saved = saved_config(contents, checkpoint)
    subject = find_subject(config, saved)
    encoder = untrained_encoder(subject)
    match = load_encoder_weights(
        encoder,
        checkpoint,
        min_match=1.0 if saved else FOREIGN_MATCH,
        of_target=config.network == "target",
    )
    console = Console(stderr=True)
    console.print(f"{checkpoint}: {match}", highlight=False, soft_wrap=True, markup=False)
    train, test = load_labelled(subject)
    evaluate = evaluation_of(config, subject, train, test, device)
    trained = evaluate(encoder)
    random_init = evaluate(untrained_encoder(subject)) if config.random_init else None
    record = evaluation_record(config, subject, trained, random_init)
    record |= {
        "test_images": len(test),
        "checkpoint": str(checkpoint),
        "network": config.network,
        "step": contents.get("step") if saved else None,
        "match": str(match),
        "environment": describe_environment(device),
    }
    write_json(output, record)
    Console().print(evaluation_table(trained, random_init))
    Console().print(f"written to {output}", highlight=False, soft_wrap=True, markup=False)


def evaluation_of(
    config: EvaluationConfig,
    subject: Subject,
    train: ImageSet,
    test: ImageSet,
    device: torch.device,
) -> Callable[..., Evaluation]:
    """Return `evaluate_encoder` for these settings and images, as a function of the encoder."""
    return partial(
        evaluate_encoder,
        train=train,
        test=test,
        image_size=subject.data.view_size,
        mean=subject.mean,
        std=subject.std,
        protocol=config.protocol,
        labels=config.labels,
        knn=config.knn,
        sgd=config.sgd,
        batch_size=config.batch_size,
        seed=config.seed,
        device=device,
        progress=True,
    )


def find_checkpoint(given: str) -> Path:
    """Return the file that `checkpoint=` names: itself, or last.pt of a run folder."""
    path = Path(given).expanduser()
    if path.is_dir():
        if not (path / "last.pt").is_file():
            raise UserError(f"checkpoint={path}: a folder without last.pt; name a run or a file")
        return path / "last.pt"
    if not path.is_file():
        raise UserError(f"checkpoint={path}: there is no such file or run folder")
    return path


def find_output(given: str | None, checkpoint: Path, name: str) -> Path:
    """Return where the result goes, by default under `name` beside the checkpoint; its folder exists."""
    path = checkpoint.parent if given is None else Path(given).expanduser()
    if path.is_dir():
        path = path / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output={path}: cannot make {path.parent}: {error.strerror}") from error
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"{path.parent} cannot be written to; name another place with output=...")
    return path


def saved_config(contents: Mapping[str, Any], path: Path) -> Mapping[str, Any] | None:
    """Return the configuration in a checkpoint of this package; None in any other file."""
    if not {"format", "config", "learner"} <= contents.keys():
        return None
    if contents["format"] != FORMAT:
        raise UserError(f"{path} has format {contents['format']}; this version reads {FORMAT}")
    saved: Mapping[str, Any] = contents["config"]
    return saved


def untrained_encoder(subject: Subject) -> nn.Module:
    """Return the encoder at the random initialisation that its run began with.

    Raises:
        UserError: it cannot be built, or was built for another image size than it is to see.
    """
    encoder, _ = make_encoder(subject.encoder, subject.norm, subject.trained_size, subject.seed)
    size = subject.data.view_size
    if size != subject.trained_size:
        try:
            with evaluation_mode(encoder), torch.no_grad():
                encoder(torch.zeros(1, 3, size, size))
        except (RuntimeError, ValueError, AssertionError) as error:
            raise UserError(
                f"encoder '{subject.encoder.name}' trained on {subject.trained_size} px does not "
                f"take {size} px; set data.image_size={subject.trained_size}"
            ) from error
    return encoder


def load_labelled(subject: Subject) -> tuple[ImageSet, ImageSet]:
    """Return the labelled training and test images."""
    splits = load_images(subject.data, subject.seed)
    if splits.train is None or splits.test is None:
        raise UserError(
            f"data={subject.data.name} has no labels here, and linear evaluation needs them: "
            "put the images of each class in a folder of their own"
        )
    return splits.train, splits.test
