"""Accuracies of a network under population, exact and batch statistics."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ssl_norm.data.corruption.dataset import corrupted
from ssl_norm.data.corruption.spec import Corruption
from ssl_norm.data.dataset import ImageSet
from ssl_norm.errors import UserError
from ssl_norm.evaluate.accuracy import majority_frequency
from ssl_norm.evaluate.classifier.accuracy import score
from ssl_norm.evaluate.protocol import ProbeResult
from ssl_norm.names import unknown_name
from ssl_norm.norms.batch.evaluation_statistics import (
    batch_statistics_at_evaluation,
    population_statistics_at_evaluation,
)
from ssl_norm.norms.batch.population_report import PopulationReport
from ssl_norm.norms.batch.precise_bn import recomputable
from ssl_norm.train.builder import naming


@dataclass(frozen=True)
class Accuracies:
    """Accuracies of a network under one kind of statistics.

    Attributes:
        network: `frozen encoder` or `classifier`.
        images: number of test images.
        values: by their names in population_stats.json.
        headings: of the values, by the same names.
        chance: share of the most common class.
    """

    network: str
    images: int
    values: Mapping[str, float]
    headings: Mapping[str, str]
    chance: float


Evaluate = Callable[..., Accuracies | None]  # (network, random_batches=False)


@dataclass(frozen=True)
class StatisticsComparison:
    """Effect of a recomputation of population statistics.

    Attributes:
        accuracies: under `population`, `exact` and `batch` statistics; None without labels.
        report: shifts of the statistics.
        samples: number of images of the new statistics.
    """

    accuracies: Mapping[str, Accuracies | None]
    report: PopulationReport
    samples: int


def compare_statistics(
    network: nn.Module,
    evaluate: Evaluate,
    recompute: Callable[[], tuple[PopulationReport, int]],
) -> StatisticsComparison:
    """Evaluate a network before and after its statistics are recomputed, and by those of batches.

    Args:
        network: is evaluated, on its device.
        evaluate: from the network and `random_batches` to its accuracies.
        recompute: replaces the statistics; returns shifts and number of images.

    Raises:
        UserError: there are no batch norms to recompute, or batches of one image.
    """
    with naming("encoder"):
        recomputable(network)
    with population_statistics_at_evaluation(network):
        found = {"population": evaluate(network)}
    with naming("checkpoint"):
        report, samples = recompute()
    with population_statistics_at_evaluation(network):
        found["exact"] = evaluate(network)
    with naming("batch_size"), batch_statistics_at_evaluation(network):
        found["batch"] = evaluate(network, random_batches=True)
    return StatisticsComparison(found, report, samples)


def encoder_accuracies(
    evaluate: Callable[..., ProbeResult], images: int
) -> Callable[..., Accuracies]:
    """Return the evaluation of a frozen encoder on `images` test images as accuracies."""
    headings = {"top1": "linear top-1", "knn_top1": "kNN top-1"}

    def accuracies(encoder: nn.Module, *, random_batches: bool = False) -> Accuracies:
        found = evaluate(encoder, random_batches=random_batches)
        values = {name: getattr(found, name) for name in headings}
        return Accuracies("frozen encoder", images, values, headings, found.chance)

    return accuracies


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
    headings = {"top1": "top-1", "loss": "loss in nats"}

    def evaluate(network: nn.Module, *, random_batches: bool = False) -> Accuracies:
        order = seed if random_batches else None
        found = score(network, test, to_input, batch_size=batch_size, device=device, seed=order)
        values = {"top1": found.top1, "loss": found.loss}
        return Accuracies("classifier", len(test), values, headings, chance)

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
