"""The encoder of a checkpoint and the images that probe it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from torch import nn

from ssl_norm.commands.checkpoint_inputs import FOREIGN_MATCH, saved_config, untrained_encoder
from ssl_norm.config import EvaluationConfig, LinearEvalConfig
from ssl_norm.data.dataset import ImageSet
from ssl_norm.errors import UserError
from ssl_norm.evaluate.protocol import Evaluation, evaluate_encoder
from ssl_norm.evaluate.subject import Subject, find_subject
from ssl_norm.models.load import load_encoder_weights, read_checkpoint
from ssl_norm.train.builder import load_images


class Probed(NamedTuple):
    """What a checkpoint holds.

    Attributes:
        subject: encoder and data, as the checkpoint and the user say.
        encoder: with the weights of the checkpoint.
        step: of the run; None for a file of weights.
        match: how many tensors were found, in words.
    """

    subject: Subject
    encoder: nn.Module
    step: int | None
    match: str


def load_probed(config: LinearEvalConfig, checkpoint: Path) -> Probed:
    """Return the encoder of a checkpoint; how it was matched is printed on stderr."""
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
    return Probed(subject, encoder, contents.get("step") if saved else None, str(match))


def load_labelled(subject: Subject) -> tuple[ImageSet, ImageSet]:
    """Return the labelled training and test images."""
    splits = load_images(subject.data, subject.seed)
    if splits.train is None or splits.test is None:
        raise UserError(
            f"data={subject.data.name} has no labels here, and linear evaluation needs them: "
            "put the images of each class in a folder of their own"
        )
    return splits.train, splits.test


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
