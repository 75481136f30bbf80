"""Which images a fine-tuning sees: labelled, unlabelled, test."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ssl_norm.config import FinetuneConfig
from ssl_norm.data.batches.labelled import label_subset
from ssl_norm.data.dataset import ImageSet, Splits
from ssl_norm.errors import UserError
from ssl_norm.evaluate.classifier.scores import TrainingImages


def choose_images(config: FinetuneConfig, splits: Splits) -> tuple[TrainingImages, ImageSet]:
    """Return the images of a run, and the training images whose labels it does not look at.

    Raises:
        UserError: there are no labels, or not as many as are asked for.
    """
    if splits.train is None or splits.test is None:
        raise UserError(
            f"data={config.data.name} has no labels here, and fine-tuning needs them: "
            "put the images of each class, two or more of at least two classes, in a folder of their own"
        )
    everything = splits.pretrain
    labels = labels_of(everything, splits.train)
    known = (labels >= 0).nonzero()[:, 0]
    chosen = label_subset(
        labels[known], **wanted_labels(config), seed=config.seed, classes=splits.train.classes
    )
    is_labelled = torch.zeros(len(everything), dtype=torch.bool)
    is_labelled[known[chosen]] = True
    index = is_labelled.nonzero()[:, 0]
    labelled = replace(everything.subset(index), labels=labels[index], classes=splits.train.classes)
    unlabelled = everything.subset((~is_labelled).nonzero()[:, 0])
    return TrainingImages(labelled, everything, splits.test), unlabelled


def labels_of(everything: ImageSet, train: ImageSet) -> Tensor:
    """Return the label of each image, (N,) int64, -1 for none; `train` shares its pixels."""
    assert train.labels is not None
    labels = torch.full((len(train.pixels),), -1)
    labels[slice(None) if train.rows is None else train.rows] = train.labels
    return labels if everything.rows is None else labels[everything.rows]


def wanted_labels(config: FinetuneConfig) -> dict[str, Any]:
    """Return what `label_subset` takes: a number of images, of images a class, or a fraction."""
    if config.labels_per_class is not None:
        return {"per_class": config.labels_per_class}
    key = "fraction" if isinstance(config.labels, float) else "count"
    return {key: config.labels}


def check_unlabelled(config: FinetuneConfig, labelled: ImageSet, unlabelled: ImageSet) -> None:
    """Raise UserError where there is nothing to take the statistics of ubn from."""
    if not len(unlabelled):
        raise UserError(
            f"norm.encoder=ubn: all {len(labelled):,} training images are labelled, and none is left for its "
            "statistics; lower labels=... or labels_per_class=..., or use norm.encoder=bn"
        )
