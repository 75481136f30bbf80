"""Shifts of statistics and accuracies, as population_stats.json, tables and a picture."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from ssl_norm.config import PopulationStatsConfig
from ssl_norm.norms.batch.population_report import PopulationReport

MOST_ROWS = 30


@dataclass(frozen=True)
class Found:
    """What a network reaches under one kind of statistics.

    Attributes:
        what: the network, in words.
        images: test images that were scored.
        values: by their names in population_stats.json.
        headings: of the values, in words.
        chance: share of the most common class.
    """

    what: str
    images: int
    values: Mapping[str, float]
    headings: Mapping[str, str]
    chance: float


def population_record(
    config: PopulationStatsConfig,
    report: PopulationReport,
    evaluations: Mapping[str, Found | None],
) -> dict[str, Any]:
    """Return the content of population_stats.json as far as it follows from settings and results."""
    return {
        "evaluations": {name: found and dict(found.values) for name, found in evaluations.items()},
        "chance": next((found.chance for found in evaluations.values() if found), None),
        "test_images": next((found.images for found in evaluations.values() if found), None),
        "batches": report.batches,
        "batch_size": config.batch_size,
        "seed": config.seed,
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
    """Return a row for each layer, or for those whose means moved most where there are many."""
    moved = sorted(report.shifts, key=lambda name: report.shifts[name].typical_mean)
    shown = set(moved[-MOST_ROWS:])
    title = f"exact statistics of {len(report.shifts)} batch norms"
    if len(report.shifts) > len(shown):
        title += f", the {len(shown)} that moved most"
    table = Table(
        title=title,
        caption="shift of means in deviations (0: the old ones were exact), ratio of deviations new/old (1)",
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


def evaluation_table(evaluations: Mapping[str, Found]) -> Table:
    """Return what was found with each kind of statistics side by side."""
    first = next(iter(evaluations.values()))
    title = (
        f"{first.what} on {first.images:,} test images by the statistics of its batch norms; "
        f"chance {first.chance:.4f}"
    )
    table = Table(title=title)
    table.add_column("")
    for name in evaluations:
        table.add_column(name, justify="right")
    for key, heading in first.headings.items():
        table.add_row(heading, *(f"{found.values[key]:.4f}" for found in evaluations.values()))
    return table


def draw_shifts(report: PopulationReport, path: Path) -> None:
    """Draw, layer after layer, the shift of means and the ratio of deviations over channels."""
    from matplotlib.figure import Figure

    layers = range(len(report.shifts))
    shifts = list(report.shifts.values())
    figure = Figure(figsize=(max(4.0, 1.5 + 0.16 * len(shifts)), 5), layout="constrained")
    means, deviations = figure.subplots(2, 1, sharex=True)
    means.bar(layers, [shift.largest_mean for shift in shifts], color="tab:grey", label="largest")
    means.bar(layers, [shift.typical_mean for shift in shifts], color="tab:blue", label="typical")
    means.set_ylabel("shift of means / deviation")
    means.legend(fontsize="small")
    ranges = [shift.deviation_range for shift in shifts]
    deviations.vlines(layers, *zip(*ranges, strict=True), color="tab:grey")
    deviations.plot(layers, [shift.typical_deviation for shift in shifts], "o", markersize=3)
    deviations.axhline(1, color="black", linewidth=0.5)
    deviations.set_ylabel("deviations, exact / old")
    deviations.set_xticks(layers, report.shifts, rotation=90, fontsize=5)
    figure.savefig(path, dpi=120)
