"""Figure of the gap between labelled and unlabelled samples in the layers of a network."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ssl_norm.figures.style import BLUE, GREY, VERMILION, drawing
from ssl_norm.toy.gap import Gap, LayerValues, wasserstein

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Gaps = Mapping[int, Sequence[Sequence[Gap]]]  # by labels per class: for each seed and layer
_BINS = [step / 4 for step in range(-16, 17)]  # edges of the bins, in deviations
_COLOURS = (BLUE, VERMILION)


def gap_figure(
    values: Mapping[str, Sequence[LayerValues]], gaps: Mapping[str, Gaps], caption: str
) -> "Figure":
    """Draw histograms of a channel, and gap and shift over the number of labels, for each layer.

    Each layer has a column. The upper rows, one for each norm, show the channel with the median
    gap; the two lower rows show gap and shift.

    Args:
        values: by norm, the values of each layer of one network, for the histograms.
        gaps: gaps by norm.
        caption: text below the panels.
    """
    layers, rows = len(next(iter(values.values()))), len(values) + 2
    with drawing(0.9 + 3.6 * layers, 0.9 + 2.2 * rows) as figure:
        panels = figure.subplots(rows, layers, sharex="row", sharey="row", squeeze=False)
        for row, (norm, found) in zip(panels, values.items(), strict=False):
            row[0].set_ylabel(f"{norm}: density")
            for axes, of_layer in zip(row, found, strict=True):
                _draw_histograms(axes, of_layer)
        for layer, (upper, lower) in enumerate(panels[-2:].T):
            panels[0, layer].set_title(f"norm layer {layer + 1}")
            for (norm, of_norm), colour in zip(gaps.items(), _COLOURS, strict=True):
                for axes, field, label, dashes in (
                    (upper, "labelled", f"{norm}, labelled", "-"),
                    (upper, "control", f"{norm}, as many without labels", "--"),
                    (lower, "shift", norm, "-"),
                ):
                    line = {k: [getattr(s[layer], field) for s in of_norm[k]] for k in of_norm}
                    _draw_line(axes, line, label, colour, dashes)
        panels[-2, 0].set_ylabel("Wasserstein distance\nfrom unlabelled, in deviations")
        panels[-1, 0].set_ylabel("shift of the mean,\nin deviations")
        for axes in panels[-2:, 0]:
            axes.set_ylim(bottom=0)
        panels[0, -1].legend(frameon=False)
        named = panels[-2, 0].get_legend_handles_labels()
        figure.legend(*named, loc="outside upper center", ncols=len(gaps))
        figure.supxlabel(caption, fontsize=9)
    return figure


def _draw_histograms(axes: "Axes", values: LayerValues) -> None:
    """Draw the labelled and unlabelled values of the channel with the median gap."""
    distances = wasserstein(values.labelled, values.unlabelled)
    channel = int(distances.argsort()[len(distances) // 2])
    axes.hist(
        values.unlabelled[:, channel].numpy(),
        _BINS,
        density=True,
        color=GREY,
        alpha=0.45,
        label="unlabelled",
    )
    axes.hist(
        values.labelled[:, channel].numpy(),
        _BINS,
        density=True,
        histtype="step",
        color="black",
        label="labelled",
    )
    axes.set_xlabel("value / population deviation")


def _draw_line(
    axes: "Axes", line: Mapping[int, Sequence[float]], label: str, colour: str, dashes: str
) -> None:
    """Draw means over seeds and, as a band, their standard deviation."""
    means = np.array([np.mean(values) for values in line.values()])
    spread = np.array(
        [np.std(values, ddof=1) if len(values) > 1 else 0 for values in line.values()]
    )
    axes.plot(list(line), means, dashes, color=colour, marker="o", markersize=3, label=label)
    axes.fill_between(list(line), means - spread, means + spread, color=colour, alpha=0.15, lw=0)
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(line), [str(labels) for labels in line])
    axes.set_xlabel("labels per class")
