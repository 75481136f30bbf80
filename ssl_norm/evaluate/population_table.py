"""Shifts of statistics and accuracies, as population_stats.json and tables."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from ssl_norm.console import say, show
from ssl_norm.evaluate.population import Accuracies, StatisticsComparison
from ssl_norm.norms.batch.population_report import PopulationReport

MOST_ROWS = 30


def population_record(compared: StatisticsComparison) -> dict[str, Any]:
    """Return the part of population_stats.json that follows from results."""
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
        left.insert(0, f"never called, as they were: {', '.join(report.not_called)}")
    say(*left, stderr=False)


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
                name,
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
