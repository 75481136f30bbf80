"""Accuracies of a network under population, exact and batch statistics."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from rich.table import Table
from torch import Tensor, nn

from ssl_norm.console import say, show
from ssl_norm.data.corruption.dataset import corrupted
from ssl_norm.data.corruption.spec import Corruption
from ssl_norm.data.dataset import ImageSet
from ssl_norm.errors import UserError
from ssl_norm.evaluate.accuracy import majority_frequency, score
from ssl_norm.evaluate.protocol import ProbeResult
from ssl_norm.names import unknown_name
from ssl_norm.norms.batch.evaluation_statistics import (
    batch_statistics_at_evaluation,
    population_statistics_at_evaluation,
)
from ssl_norm.norms.batch.precise_bn import PopulationReport, recomputable
from ssl_norm.train.builder import naming

MOST_ROWS = 30  # largest number of rows in the table of shifts


class Accuracies(NamedTuple):
    """Accuracies of a network under one kind of statistics."""

    values: Mapping[str, float]  # by their names in population_stats.json
    headings: Mapping[str, str]  # headings of the values, by the same names
    chance: float  # share of the most common class


Evaluate = Callable[..., Accuracies | None]  # (network, random_batches=False)


class StatisticsComparison(NamedTuple):
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


def encoder_accuracies(evaluate: Callable[..., ProbeResult]) -> Evaluate:
    """Return a function that evaluates a frozen encoder."""
    headings = {"top1": "linear top-1", "knn_top1": "kNN top-1"}

    def accuracies(encoder: nn.Module, *, random_batches: bool = False) -> Accuracies:
        found = evaluate(encoder, random_batches=random_batches)
        return Accuracies({name: getattr(found, name) for name in headings}, headings, found.chance)

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
) -> Evaluate:
    """Return a function that scores a classifier on labelled images, all corrupted.

    `classes` are the names of its logits, and `seed` is that of the corruption and of random
    batches.

    Raises:
        UserError: the images have a class that the classifier does not know.
    """
    test = corrupted(with_labels_of(images, classes), corruption, seed)
    assert test.labels is not None
    chance = majority_frequency(test.labels)
    headings = {"top1": "top-1", "loss": "loss in nats"}

    def accuracies(network: nn.Module, *, random_batches: bool = False) -> Accuracies:
        order = seed if random_batches else None
        found = score(network, test, to_input, batch_size=batch_size, device=device, seed=order)
        return Accuracies({"top1": found.top1, "loss": found.loss}, headings, chance)

    return accuracies


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


def population_record(compared: StatisticsComparison, test_images: int) -> dict[str, Any]:
    """Return the results of a comparison for population_stats.json."""
    report, evaluations = compared.report, compared.accuracies
    found = evaluations["exact"]
    return {
        "evaluations": {name: each and dict(each.values) for name, each in evaluations.items()},
        "chance": found and found.chance,
        "test_images": test_images if found else None,
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


def print_comparison(compared: StatisticsComparison, subject: str) -> None:
    """Print the tables, of which the second names the `subject`, and unchanged layers."""
    report = compared.report
    show([_shift_table(report), *_evaluation_table(compared.accuracies, subject)])
    if report.not_called:
        say(f"never called, so unchanged: {', '.join(report.not_called)}", stderr=False)
    left = [f"not recomputed: {name} ({why})" for name, why in report.not_recomputed.items()]
    say(*left, stderr=False)


def _shift_table(report: PopulationReport) -> Table:
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
            numbers = shift.typical_mean, shift.largest_mean, shift.typical_deviation
            least, largest = shift.deviation_range
            cells = (f"{number:.4f}" for number in numbers)
            table.add_row(name, *cells, f"{least:.3f} - {largest:.3f}")
    return table


def _evaluation_table(
    evaluations: Mapping[str, Accuracies | None], subject: str
) -> Iterator[Table]:
    """Yield a table with a column of accuracies for each kind of statistics, if there are any."""
    found = {name: each for name, each in evaluations.items() if each}
    for first in list(found.values())[:1]:
        title = f"{subject} by the statistics of its batch norms; chance {first.chance:.4f}"
        table = Table(title=title)
        table.add_column("")
        for name in found:
            table.add_column(name, justify="right")
        for key, heading in first.headings.items():
            table.add_row(heading, *(f"{each.values[key]:.4f}" for each in found.values()))
        yield table
