"""Shifts of the statistics of batch norms, layer after layer."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ssl_norm.figures.style import drawing
from ssl_norm.norms.batch.population_report import StatisticsShift

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def shift_figure(shifts: Mapping[str, StatisticsShift]) -> "Figure":
    """Return a figure of the shift of means and the ratio of deviations over channels.

    Args:
        shifts: of each layer, by name, in the order of the data.
    """
    layers = range(len(shifts))
    found = list(shifts.values())
    with drawing(max(4.0, 1.5 + 0.16 * len(found)), 5) as figure:
        means, deviations = figure.subplots(2, 1, sharex=True)
        means.bar(
            layers, [shift.largest_mean for shift in found], color="tab:grey", label="largest"
        )
        means.bar(
            layers, [shift.typical_mean for shift in found], color="tab:blue", label="typical"
        )
        means.set_ylabel("shift of means / deviation")
        means.legend(fontsize="small")
        ranges = [shift.deviation_range for shift in found]
        deviations.vlines(layers, *zip(*ranges, strict=True), color="tab:grey")
        deviations.plot(layers, [shift.typical_deviation for shift in found], "o", markersize=3)
        deviations.axhline(1, color="black", linewidth=0.5)
        deviations.set_ylabel("deviations, exact / old")
        deviations.set_xticks(layers, list(shifts), rotation=90, fontsize=5)
    return figure
