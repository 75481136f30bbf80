"""Figure of the groups of elements that share statistics, as they were measured."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ssl_norm.figures.style import BLUE, GREY, drawing
from ssl_norm.norms.influence import Influence

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TINTS = ("#f3e3c2", "#d9ead3", "#f4cfd6", "#e2daf0", "#fdf3b8", "#d6e6ef")
_MODES = ("training", "evaluation")


def influence_figure(measured: Mapping[tuple[str, str], Influence]) -> "Figure":
    """Draw one panel for each norm and mode, with a row per sample and a column per channel.

    Each cell of a sample and a channel is divided into its positions. The framed input was changed,
    and the blue outputs depend on it. Other colours mark other groups that share statistics
    (neighbours have different colours), and grey marks their overlap. Measurements are by norm and
    mode, `training` or `evaluation`.
    """
    norms = list(dict.fromkeys(norm for norm, _ in measured))
    columns = min(len(norms), 5)
    rows = -(-len(norms) // columns)
    with drawing(0.3 + 2.3 * columns, 0.4 + 4.6 * rows) as figure:
        panels = figure.subplots(2 * rows, columns, squeeze=False)
        for axes in panels.flat:
            axes.set_axis_off()
        for place, norm in enumerate(norms):
            for below, mode in enumerate(_MODES):
                axes = panels[2 * (place // columns) + below, place % columns]
                _draw(axes, measured[norm, mode])
                axes.set_title(f"{norm}\n{mode}" if below == 0 else mode)
    return figure


def _draw(axes: "Axes", influence: Influence) -> None:
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Rectangle

    samples, channels, positions = influence.moved.shape
    side = int(positions**0.5)
    colours = np.full((*influence.moved.shape, 3), to_rgb("#e4e4e4"))
    if influence.groups is not None:
        tints = np.array([to_rgb(tint) for tint in _TINTS])
        # Groups are numbered along channels first; neighbours get different colours in both axes.
        colours = tints[(influence.groups + influence.groups // channels) % len(tints)]
    colours[influence.moved] = to_rgb(BLUE)
    grid = colours.reshape(samples, channels, side, side, 3).swapaxes(1, 2)
    axes.set_axis_on()
    axes.imshow(grid.reshape(samples * side, channels * side, 3), aspect="equal")
    axes.add_patch(Rectangle((-0.5, -0.5), 1, 1, fill=False, edgecolor="black", linewidth=1.5))
    for line in range(1, samples):
        axes.axhline(line * side - 0.5, color="white", linewidth=1.5)
    for line in range(1, channels):
        axes.axvline(line * side - 0.5, color="white", linewidth=1.5)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel("channels", color=GREY)
    axes.set_ylabel("samples", color=GREY)
