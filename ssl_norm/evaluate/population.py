"""Accuracies of a network under population, exact and batch statistics."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from rich.table import Table
from torch import nn

from ssl_norm.console import say, show
from ssl_norm.data.dataset import ImageSet
from ssl_norm.errors import UserError
from ssl_norm.evaluate.accuracy import Score, majority_frequency
from ssl_norm.evaluate.protocol import ProbeResult
from ssl_norm.names import unknown_name
from ssl_norm.norms.batch.evaluation_statistics import (
    batch_statistics_at_evaluation,
    population_statistics_at_evaluation,
)
from ssl_norm.norms.batch.precise_bn import PopulationReport, recomputable
from ssl_norm.train.builder import naming

MOST_ROWS = 30  # largest number of rows in the table of shifts


Evaluate = Callable[..., ProbeResult | Score | None]  # (network, random_batches=False)


class Tested(NamedTuple):
    """Labelled images on which a network is evaluated, and the results that are shown."""

    network: str  # `frozen encoder` or `classifier`
    images: ImageSet
    headings: Mapping[str, str]  # headings of results, by their names in population_stats.json

    @property
    def chance(self) -> float:
        """Share of the most common class."""
        assert self.images.labels is not None
        return majority_frequency(self.images.labels)


class StatisticsComparison(NamedTuple):
    """Shifts of recomputed statistics, and results under each kind of statistics."""

    results: Mapping[str, ProbeResult | Score | None]  # `population`, `exact`, `batch`
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


def population_record(compared: StatisticsComparison, tested: Tested | None) -> dict[str, Any]:
    """Return the results of a comparison for population_stats.json; without labels null."""
    report, headings = compared.report, tested.headings if tested else ()
    return {
        "evaluations": {
            name: {key: getattr(found, key) for key in headings} if found else None
            for name, found in compared.results.items()
        },
        "chance": tested and tested.chance,
        "test_images": tested and len(tested.images),
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


def print_comparison(compared: StatisticsComparison, tested: Tested | None) -> None:
    """Print the tables, and the layers that were not recomputed."""
    report = compared.report
    show([_shift_table(report), *([_evaluation_table(compared, tested)] if tested else [])])
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
        caption="mean, largest: shift of the means in standard deviations, 0 if they were exact; "
        "deviation, range: new divided by old standard deviation, 1 if exact",
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


def _evaluation_table(compared: StatisticsComparison, tested: Tested) -> Table:
    """Return a table with a column of results for each kind of statistics."""
    title = (
        f"{tested.network} on {len(tested.images):,} test images by the statistics of its batch "
        f"norms; chance {tested.chance:.4f}"
    )
    table = Table("", title=title)
    for name in compared.results:
        table.add_column(name, justify="right")
    for key, heading in tested.headings.items():
        values = (getattr(found, key) for found in compared.results.values())
        table.add_row(heading, *(f"{value:.4f}" for value in values))
    return table
