"""Scores of a classifier on labelled images of the user's."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ssl_norm.data.corruption.dataset import corrupted
from ssl_norm.data.corruption.spec import Corruption
from ssl_norm.data.dataset import ImageSet
from ssl_norm.errors import UserError
from ssl_norm.evaluate.accuracy import majority_frequency
from ssl_norm.evaluate.classifier.accuracy import score
from ssl_norm.evaluate.population import Accuracies
from ssl_norm.names import unknown_name

HEADINGS = {"top1": "top-1", "loss": "loss in nats"}


def classifier_accuracies(
    images: ImageSet,
    classes: Sequence[str],
    to_input: Callable[[Tensor], Tensor],
    *,
    corruption: Corruption | None,
    batch_size: int,
    seed: int,
    device: torch.device,
) -> Callable[..., Accuracies]:
    """Return a function that scores a classifier on labelled images.

    Args:
        images: labelled.
        classes: names of the classifier's logits.
        to_input: from uint8 pixels (B, H, W, 3) to the classifier's input.
        corruption: of all images.
        batch_size: images per forward pass.
        seed: of the corruption and of random batches.
        device: of the classifier.

    Raises:
        UserError: the images have a class that the classifier does not know.
    """
    test = corrupted(with_labels_of(images, classes), corruption, seed)
    assert test.labels is not None
    chance = majority_frequency(test.labels)

    def evaluate(network: nn.Module, *, random_batches: bool = False) -> Accuracies:
        order = seed if random_batches else None
        found = score(network, test, to_input, batch_size=batch_size, device=device, seed=order)
        values = {"top1": found.top1, "loss": found.loss}
        return Accuracies("classifier", len(test), values, HEADINGS, chance)

    return evaluate


def with_labels_of(images: ImageSet, classes: Sequence[str]) -> ImageSet:
    """Return labelled images with labels that index `classes`, matched by name.

    Raises:
        UserError: a class of the images is none of these.
    """
    for name in images.classes:
        if name not in classes:
            raise UserError(
                f"{unknown_name('class', name, list(classes))}; folders must be named as the "
                "classes of the classifier, or hold no class folders at all"
            )
    place = torch.tensor([classes.index(name) for name in images.classes])
    assert images.labels is not None
    return replace(images, labels=place[images.labels], classes=tuple(classes))
