"""Builders of the parts of a fine-tuning from its settings."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from ssl_norm.data.batches.labelled_batches import LabelledBatches
from ssl_norm.data.corruption.spec import parse_corruption
from ssl_norm.data.dataset import ImageSet, Splits
from ssl_norm.data.subsets import label_subset
from ssl_norm.errors import UserError
from ssl_norm.models.heads import Classifier
from ssl_norm.settings.finetune import FinetuneSettings
from ssl_norm.train.builder import learning_rate_of, make_views, move_to_device, optimizer_of
from ssl_norm.train.device import autocast
from ssl_norm.train.finetuning import FinetuningRun
from ssl_norm.train.run_settings import norm_specs


@dataclass(frozen=True)
class TrainingImages:
    """Training and test images of a classifier."""

    labelled: ImageSet  # training images of the loss
    everything: ImageSet  # all training images, labelled or not
    test: ImageSet  # labelled; none of them is in `everything`


@dataclass(frozen=True)
class FinetuningImages(TrainingImages):
    """The images of a fine-tuning."""

    unlabelled: ImageSet  # training images whose labels are not used


def choose_images(config: FinetuneSettings, splits: Splits) -> FinetuningImages:
    """Return the images of a run.

    Raises:
        UserError: there are no labels, or fewer than requested.
    """
    if splits.train is None or splits.test is None:
        raise UserError(
            f"data={config.data.name} has no labels here, and fine-tuning needs them: put the "
            "images of each class into a separate folder; two classes of two images are the least"
        )
    everything, train = splits.pretrain, splits.train
    assert train.labels is not None
    labels = torch.full((len(train.pixels),), -1)  # of all pixels; -1: no label
    labels[slice(None) if train.rows is None else train.rows] = train.labels
    labels = labels if everything.rows is None else labels[everything.rows]
    known = (labels >= 0).nonzero()[:, 0]
    classes = train.classes
    wanted: dict[str, Any] = {"per_class": config.labels_per_class}
    if config.labels_per_class is None:
        wanted = {"fraction" if isinstance(config.labels, float) else "count": config.labels}
    chosen = label_subset(labels[known], **wanted, seed=config.seed, classes=classes)
    is_labelled = torch.zeros(len(everything), dtype=torch.bool)
    is_labelled[known[chosen]] = True
    index = is_labelled.nonzero()[:, 0]
    return FinetuningImages(
        labelled=replace(everything.subset(index), labels=labels[index], classes=classes),
        everything=everything,
        test=splits.test,
        unlabelled=everything.subset((~is_labelled).nonzero()[:, 0]),
    )


def make_finetuning(
    config: FinetuneSettings,
    encoder: nn.Module,
    images: FinetuningImages,
    device: torch.device,
    checkpoint: Mapping[str, Any] | None,
) -> FinetuningRun:
    """Return a run around an encoder, in its initial state or in that of a checkpoint.

    Raises:
        UserError: there are no unlabelled images for ubn, or no statistics to freeze.
    """
    model = Classifier(encoder, len(images.labelled.classes), seed=config.seed)
    move_to_device(model, config, device)
    first_step = 0 if checkpoint is None else int(checkpoint["step"])
    run = FinetuningRun(
        network=model,
        optimizer=optimizer_of(config.optimizer, model),
        batches=_make_batches(config, images, device).iterate(first_step, config.steps),
        make_views=make_views(config.augment, config.data.view_size, config.augment.normalization),
        learning_rate=learning_rate_of(
            config.optimizer, config.batch_size, config.steps, config.optimizer.warmup_steps
        ),
        autocast=partial(autocast, device, config.precision),
        joint_gradient=config.ubn.gradient,
        classes=images.labelled.classes,
        seed=config.seed,
        first_step=first_step,
        steps=config.steps,
        log_every=config.log_every,
        score_every=config.evaluation.every,
        save_every=config.checkpoint_every,
        frozen_from=config.steps - round(config.norm.freeze_last * config.steps),
    )
    if checkpoint is not None:
        run.load_state(checkpoint)
    return run


def _make_batches(
    config: FinetuneSettings, images: FinetuningImages, device: torch.device
) -> LabelledBatches:
    """Return batches of labelled images and, for ubn, of unlabelled ones."""
    size = unlabelled_per_step(config)
    if size and not len(images.unlabelled):
        raise UserError(
            f"norm.encoder=ubn needs unlabelled images, but all {len(images.labelled):,} training "
            "images are labelled; lower labels=... or labels_per_class=..., or use norm.encoder=bn"
        )
    return LabelledBatches(
        images.labelled,
        images.unlabelled if size else None,
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


def unlabelled_per_step(config: FinetuneSettings) -> int:
    """Return the number of unlabelled images in a joint batch of ubn; 0 for other norms.

    It is a multiple of the number of domains.
    """
    spec = norm_specs(config).get("encoder")
    if spec is None or spec.name != "ubn":
        return 0
    parts = max(1, len(config.domains))
    return max(1, round(config.ubn.ratio * config.batch_size / parts)) * parts
