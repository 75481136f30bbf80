"""From a configuration of tools/finetune.py to its training."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from ssl_norm.commands.finetune_images import check_unlabelled
from ssl_norm.config import FinetuneConfig
from ssl_norm.data.augment.views import Views
from ssl_norm.data.batches.labelled_batches import LabelledBatches
from ssl_norm.data.corruption.spec import parse_corruption
from ssl_norm.data.dataset import ImageSet
from ssl_norm.evaluate.classifier.scores import TrainingImages
from ssl_norm.models.classifier import Classifier
from ssl_norm.norms.batch.freezing import freezable_statistics
from ssl_norm.train.builder import naming, optimizer_of
from ssl_norm.train.device import autocast
from ssl_norm.train.run_folder import norm_specs
from ssl_norm.train.schedule import effective_learning_rate, learning_rate
from ssl_norm.train.supervised import SupervisedTraining


def make_run(
    config: FinetuneConfig,
    encoder: nn.Module,
    images: TrainingImages,
    unlabelled: ImageSet,
    device: torch.device,
    checkpoint: Mapping[str, Any] | None,
) -> SupervisedTraining:
    """Return a training around an encoder, at its beginning or where a checkpoint left it.

    Raises:
        UserError: there are no unlabelled images for ubn, or no statistics to freeze.
    """
    memory_format = torch.channels_last if config.channels_last else torch.contiguous_format
    model = Classifier(encoder, len(images.labelled.classes), seed=config.seed)
    model = model.to(device).to(memory_format=memory_format)
    if config.norm.freeze_last:
        with naming("norm.freeze_last"):
            freezable_statistics(model)
    optimizer = optimizer_of(config.optimizer, model)
    first_step = 0
    if checkpoint is not None:
        first_step = int(checkpoint["step"])
        model.load_state_dict(checkpoint["learner"])
        optimizer.load_state_dict(checkpoint["optimizer"])
    return SupervisedTraining(
        model=model,
        optimizer=optimizer,
        batches=make_batches(config, images.labelled, unlabelled, device).iterate(
            first_step, config.steps
        ),
        make_views=make_views(config),
        learning_rate=partial(
            learning_rate,
            peak=effective_learning_rate(config.optimizer.lr, config.batch_size),
            steps=config.steps,
            warmup_steps=config.optimizer.warmup_steps,
            schedule=config.optimizer.schedule,
        ),
        autocast=partial(autocast, device, config.precision),
        joint_gradient=config.ubn.gradient,
        seed=config.seed,
        first_step=first_step,
        steps=config.steps,
        log_every=config.log_every,
        score_every=config.evaluation.every,
        save_every=config.checkpoint_every,
        frozen_from=config.steps - round(config.norm.freeze_last * config.steps),
    )


def make_batches(
    config: FinetuneConfig, labelled: ImageSet, unlabelled: ImageSet, device: torch.device
) -> LabelledBatches:
    """Return the batches of labelled images and, for ubn, of unlabelled ones beside them."""
    size = unlabelled_per_step(config)
    if size:
        check_unlabelled(config, labelled, unlabelled)
    return LabelledBatches(
        labelled,
        unlabelled if size else None,
        batch_size=config.batch_size,
        unlabelled_size=size,
        seed=config.seed,
        device=device,
        chunk=config.grouping.chunk,
        classes_per_chunk=config.grouping.classes,
        shuffle=config.grouping.shuffle,
        domains=[parse_corruption(domain) for domain in config.domains],
        resident=config.data.resident,
    )


def unlabelled_per_step(config: FinetuneConfig) -> int:
    """Return how many unlabelled images a joint batch of ubn has, in equal parts of each domain; else 0."""
    spec = norm_specs(config).get("encoder")
    if spec is None or spec.name != "ubn":
        return 0
    parts = max(1, len(config.domains))
    return max(1, round(config.ubn.ratio * config.batch_size / parts)) * parts


def make_views(config: FinetuneConfig) -> Views:
    """Return the augmentation that `config.augment` describes."""
    augment = config.augment
    return Views(
        {"view": augment.view},
        config.data.view_size,
        *augment.normalization,
        exact_colour=augment.exact_colour,
    )
