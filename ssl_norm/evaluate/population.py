"""Accuracies of a network under population, exact and batch statistics."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from ssl_norm.evaluate.protocol import ProbeResult
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
