"""Shifts of statistics and accuracies, as population_stats.json and tables."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table

from ssl_norm.norms.batch.population_report import PopulationReport

MOST_ROWS = 30


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


def population_record(
    report: PopulationReport, evaluations: Mapping[str, Accuracies | None]
) -> dict[str, Any]:
    """Return the part of population_stats.json that follows from results."""
    found = next((found for found in evaluations.values() if found), None)
    return {
        "evaluations": {name: each and dict(each.values) for name, each in evaluations.items()},
        "chance": found and found.chance,
        "test_images": found and found.images,
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


def shift_table(report: PopulationReport) -> Table:
    """Return a row for each layer, at most `MOST_ROWS`: those whose means moved most."""
    moved = sorted(report.shifts, key=lambda name: report.shifts[name].typical_mean)
    shown = set(moved[-MOST_ROWS:])
    title = f"exact statistics of {len(report.shifts)} batch norms"
    if len(report.shifts) > len(shown):
        title += f", the {len(shown)} that moved most"
    table = Table(
        title=title,
        caption="shift of means in deviations (0: the old ones were exact), "
        "ratio of deviations new/old (1)",
    )
    table.add_column("layer")
    for column in ("mean", "largest", "deviation", "range"):
        table.add_column(column, justify="right")
    for name, shift in report.shifts.items():
        if name in shown:
            least, largest = shift.deviation_range
            table.add_row(
                escape(name),
                f"{shift.typical_mean:.4f}",
                f"{shift.largest_mean:.4f}",
                f"{shift.typical_deviation:.4f}",
                f"{least:.3f} - {largest:.3f}",
            )
    return table


def evaluation_table(evaluations: Mapping[str, Accuracies]) -> Table:
    """Return a column of accuracies for each kind of statistics."""
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
