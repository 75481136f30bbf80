"""Accuracies of a network under population, exact and batch statistics."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn

from ssl_norm.console import say, show
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
from ssl_norm.norms.batch.precise_bn import PopulationReport, recomputable
from ssl_norm.train.builder import naming


@dataclass(frozen=True)
class Accuracies:
    """Accuracies of a network under one kind of statistics."""

    network: str  # `frozen encoder` or `classifier`
    images: int  # number of test images
    values: Mapping[str, float]  # by their names in population_stats.json
    headings: Mapping[str, str]  # headings of the values, by the same names
    chance: float  # share of the most common class


MOST_ROWS = 30  # largest number of rows in the table of shifts
Evaluate = Callable[..., Accuracies | None]  # (network, random_batches=False)


@dataclass(frozen=True)
class StatisticsComparison:
    """Shifts of recomputed statistics, and accuracies under each kind of statistics."""

    accuracies: Mapping[str, Accuracies | None]  # `population`, `exact`, `batch`; None: no labels
    report: PopulationReport
    samples: int  # number of images of the recomputation


def compare_statistics(
    network: nn.Module,
    evaluate: Evaluate,
    recompute: Callable[[], tuple[PopulationReport, int]],
) -> StatisticsComparison:
    """Evaluate a network before and after its statistics are recomputed, and with batch statistics.

    `recompute` replaces the statistics, and returns their shifts and the number of images.

    Raises:
        UserError: there are no batch norms to recompute, or a batch has one image.
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


def encoder_accuracies(evaluate: Callable[..., ProbeResult], images: int) -> Evaluate:
    """Return a function that evaluates a frozen encoder on `images` test images."""
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

    `classes` are the names of its logits, `corruption` applies to all images, and `seed` is that of
    the corruption and of random batches.

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
        UserError: the images have a class that is not among them.
    """
    for name in images.classes:
        if name not in classes:
            raise UserError(
                f"{unknown_name('class', name, list(classes))}; name class folders as the classes "
                "of the classifier, or use a folder without class folders"
            )
    place = torch.tensor([classes.index(name) for name in images.classes])
    assert images.labels is not None
    return replace(images, labels=place[images.labels], classes=tuple(classes))


def population_record(compared: StatisticsComparison) -> dict[str, Any]:
    """Return the results of a comparison for population_stats.json."""
    report, evaluations = compared.report, compared.accuracies
    found = next((found for found in evaluations.values() if found), None)
    return {
        "evaluations": {name: each and dict(each.values) for name, each in evaluations.items()},
        "chance": found and found.chance,
        "test_images": found and found.images,
        "samples": compared.samples,
        "batches": report.batches,
        "layers": {
            name: {
                "mean_shift": shift.typical_mean,
                "largest_mean_shift": shift.largest_mean,
                "deviation_ratio": shift.typical_deviation,
                "deviation_ratio_range": shift.deviation_range,
                "values": shift.count,
            }
            for name, shift in report.shifts.items()
        },
        "not_called": report.not_called,
        "not_recomputed": dict(report.not_recomputed),
    }


def print_comparison(compared: StatisticsComparison) -> None:
    """Print the tables, and the layers that were not recomputed."""
    report = compared.report
    found = {name: each for name, each in compared.accuracies.items() if each is not None}
    show([shift_table(report), *([evaluation_table(found)] if found else [])])
    left = [f"not recomputed: {name} ({why})" for name, why in report.not_recomputed.items()]
    if report.not_called:
        left.insert(0, f"never called, so unchanged: {', '.join(report.not_called)}")
    say(*left, stderr=False)


def shift_table(report: PopulationReport) -> Table:
    """Return a table of the layers with the largest shifts of means, at most `MOST_ROWS`."""
    moved = sorted(report.shifts, key=lambda name: report.shifts[name].typical_mean)
    shown = set(moved[-MOST_ROWS:])
    title = f"exact statistics of {len(report.shifts)} batch norms"
    if len(report.shifts) > len(shown):
        title += f", the {len(shown)} with the largest shifts"
    table = Table(
        title=title,
        caption="shift of means in deviations (0: the old means were exact), ratio of deviations "
        "new/old (1: exact)",
    )
    table.add_column("layer")
    for column in ("mean", "largest", "deviation", "range"):
        table.add_column(column, justify="right")
    for name, shift in report.shifts.items():
        if name in shown:
            least, largest = shift.deviation_range
            table.add_row(
                name,
                f"{shift.typical_mean:.4f}",
                f"{shift.largest_mean:.4f}",
                f"{shift.typical_deviation:.4f}",
                f"{least:.3f} - {largest:.3f}",
            )
    return table


def evaluation_table(evaluations: Mapping[str, Accuracies]) -> Table:
    """Return a table with a column of accuracies for each kind of statistics."""
    first = next(iter(evaluations.values()))
    title = (
        f"{first.network} on {first.images:,} test images by the statistics of its batch norms; "
        f"chance {first.chance:.4f}"
    )
    table = Table(title=title)
    table.add_column("")
    for name in evaluations:
        table.add_column(name, justify="right")
    for key, heading in first.headings.items():
        table.add_row(heading, *(f"{found.values[key]:.4f}" for found in evaluations.values()))
    return table
