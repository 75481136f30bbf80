"""The classifier of a fine-tuning in tools/population_stats.py: its statistics adapted to images of the user's."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from ssl_norm.commands.classifier_inputs import corrupting
from ssl_norm.commands.finetune_run import make_views
from ssl_norm.commands.population_outcome import Found
from ssl_norm.commands.recomputed import Recomputed, plain_views
from ssl_norm.config import FinetuneConfig, PopulationStatsConfig
from ssl_norm.console import say
from ssl_norm.data.corruption.dataset import corrupted
from ssl_norm.data.corruption.spec import parse_corruption
from ssl_norm.data.dataset import ImageSet, Splits
from ssl_norm.errors import UserError
from ssl_norm.evaluate.accuracy import majority_frequency
from ssl_norm.evaluate.classifier import score
from ssl_norm.evaluate.features import evaluation_view
from ssl_norm.evaluate.subject import Subject
from ssl_norm.names import unknown_name
from ssl_norm.options import replace
from ssl_norm.train.population import MakeViews
from ssl_norm.train.restore import restore_classifier, restore_finetune_config

HEADINGS = {"top1": "top-1", "loss": "loss in nats"}


def held_by_classifier(
    config: PopulationStatsConfig, subject: Subject, contents: Mapping[str, Any]
) -> Recomputed:
    """Return a classifier, which sees views as in its training unless plain ones are asked for.

    Raises:
        UserError: another encoder or norm than the checkpoint's is asked for, or an unknown corruption.
    """
    if any(value is not None for value in (*vars(config.encoder).values(), config.norm.encoder)):
        raise UserError(
            "encoder.* and norm.encoder: a classifier is scored with its own; leave them out"
        )
    corruption = parse_corruption(config.corruption or "clean")
    run = restore_finetune_config(contents["config"])
    if run.norm.freeze_last:
        say(
            f"norm.freeze_last={run.norm.freeze_last:g}: this run ended with frozen statistics, to which its weights "
            "have adapted; exact ones may serve it worse"
        )
    classifier = restore_classifier(contents)
    views = config.views or "train"
    seen = (
        partial(plain_views, subject, copies=1) if views == "plain" else train_views(run, subject)
    )
    same_images = (run.data.name, run.data.root) == (subject.data.name, subject.data.root)
    limit = run.data.limit if same_images else None
    return Recomputed(
        classifier, classifier, corrupting(seen, [corruption]), views, limit, contents
    )


def train_views(run: FinetuneConfig, subject: Subject) -> MakeViews:
    """Return the view that a classifier was trained on, at the size and with the pixels of what it is scored on."""
    pixels: dict[str, Any] = {"mean": subject.mean, "std": subject.std}
    seen = replace(run.data, image_size=subject.data.view_size)
    return make_views(replace(run, data=seen, augment=replace(run.augment, **pixels)))


def scores_of_test_images(
    config: PopulationStatsConfig,
    subject: Subject,
    splits: Splits,
    device: torch.device,
    classes: Sequence[str],
) -> Callable[..., Found | None]:
    """Return what scores a classifier on the test images, corrupted as asked; without labels it gives None.

    Args:
        config: of the tool.
        subject: size and pixels of what the classifier sees.
        splits: the images, of which the test part is scored.
        device: of the classifier.
        classes: names of its logits.

    Raises:
        UserError: the images have a class that the classifier does not know.
    """
    if splits.test is None:
        say(f"data={subject.data.name} has no labels here: statistics only, no accuracies")
        return lambda network, random_batches=False: None
    known = with_labels_of(splits.test, classes)
    test = corrupted(known, parse_corruption(config.corruption or "clean"), config.seed)
    assert test.labels is not None
    chance = majority_frequency(test.labels)
    size = subject.data.view_size
    to_input = partial(evaluation_view, image_size=size, mean=subject.mean, std=subject.std)

    def find(network: nn.Module, *, random_batches: bool = False) -> Found:
        found = score(
            network,
            test,
            to_input,
            batch_size=config.batch_size,
            device=device,
            seed=config.seed if random_batches else None,
        )
        return Found(
            "classifier", len(test), {"top1": found.top1, "loss": found.loss}, HEADINGS, chance
        )

    return find


def with_labels_of(images: ImageSet, classes: Sequence[str]) -> ImageSet:
    """Return labelled images with their labels counted as `classes` are, found by name.

    Raises:
        UserError: a class of the images is none of these.
    """
    for name in images.classes:
        if name not in classes:
            raise UserError(
                f"{unknown_name('class', name, list(classes))}; folders must be named as the classes of the "
                "classifier, or hold no class folders at all"
            )
    place = torch.tensor([classes.index(name) for name in images.classes])
    assert images.labels is not None
    return replace(images, labels=place[images.labels], classes=tuple(classes))
