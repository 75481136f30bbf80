"""Figures of toy classifiers: their predictions, starting points and gaps."""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssl_norm.evaluate.uncertainty import uncertainty
from ssl_norm.figures.style import BLUE, GREY, VERMILION, drawing, save_figure
from ssl_norm.toy.augmentation import Starts
from ssl_norm.toy.classifiers import joint_batches
from ssl_norm.toy.gap import Gap, LayerValues, wasserstein
from ssl_norm.toy.samples import Samples

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Gaps = Mapping[int, Sequence[Sequence[Gap]]]  # by labels per class: for each seed and layer
_Array = NDArray[np.floating]
_MARGIN = 0.5  # width of the plane around the points
_GRID_STEP = 0.025
_DOTS_PER_INCH = 150
_CLASSES = ((BLUE, "o"), (VERMILION, "^"))  # colour and marker of either class
_PALE = "#7a7a7a"  # unlabelled points
_TINT = 0.22  # opacity of the colour of the predicted class
_LOWEST_TOP = 0.05  # the scale of deviations ends here or higher, so that rounding errors are pale
_ROWS, _REDRAWS = 5, 3  # of the figure of differences
_BINS = [step / 4 for step in range(-16, 17)]  # edges of the bins, in deviations


class PlaneMap(NamedTuple):
    """Predictions of one model on a grid of points."""

    name: str  # title of its column
    # (rows, columns), probability of the second class with the statistics of evaluation
    probability: _Array
    deviation: _Array  # (rows, columns), std of that probability over re-drawn batches
    starts: Starts


def draw_classifiers(
    models: Mapping[str, tuple[nn.Module, Starts]],
    moons: Samples,
    output: Path,
    *,
    draws: int,
    unlabelled: int,
    seed: int,
    caption: str,
) -> None:
    """Write a figure of all models, with deviations over the same joint batches.

    `models` maps the titles of columns to a model in evaluation mode and its starting points. There
    are `draws` joint batches, each with `unlabelled` points.
    """
    points = torch.cat([moons.labelled, moons.unlabelled])
    x, y = (
        np.arange(float(p.min()) - _MARGIN, float(p.max()) + _MARGIN, _GRID_STEP) for p in points.T
    )
    down, across = torch.meshgrid(torch.from_numpy(y), torch.from_numpy(x), indexing="ij")
    grid = torch.stack([across.flatten(), down.flatten()], dim=1).float()
    batches = list(islice(joint_batches(moons, unlabelled, seed), draws))
    shape = (len(y), len(x))
    maps = [
        PlaneMap(title, *plane_map(model, grid, batches, shape), starts)
        for title, (model, starts) in models.items()
    ]
    save_figure(moons_figure(x, y, maps, moons, caption), output, _DOTS_PER_INCH)


@torch.no_grad()
def plane_map(
    model: nn.Module, grid: Tensor, batches: list[Tensor], shape: tuple[int, int]
) -> tuple[_Array, _Array]:
    """Return probability and deviation of a model at the points of a grid (rows * columns, 2)."""
    probability = model(grid).softmax(1)[:, 1]
    deviation = uncertainty(model, grid, batches, batch_size=len(grid)).std
    return probability.view(shape).numpy(), deviation.view(shape).numpy()


def moons_figure(
    x: _Array, y: _Array, maps: Sequence[PlaneMap], moons: Samples, caption: str
) -> "Figure":
    """Draw boundaries, deviations and starting points, one column per model.

    In the upper row, colours show the predicted class, and a thick line shows the boundary at which
    both classes are equally probable. In the middle row, deviations have one colour scale for all
    models. In the lower row, a line joins each restored starting point, a dot, to its input.

    `x` (columns,) and `y` (rows,) are the ascending coordinates of the grid.
    """
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap
    from matplotlib.lines import Line2D

    with drawing(0.8 + 4.0 * len(maps), 9.2) as figure:
        grid = figure.subplots(3, len(maps), sharex=True, sharey=True, squeeze=False)
        colours, sides = [colour for colour, _ in _CLASSES], np.array([-np.inf, 0.5, np.inf])
        heat: dict[str, Any] = {
            "vmin": 0,
            "vmax": max(_LOWEST_TOP, *(float(plane.deviation.max()) for plane in maps)),
            # pale enough for points and lines on it
            "cmap": ListedColormap(colormaps["Greens"](np.linspace(0, 0.75, 256))),
        }
        for (upper, middle, lower), plane in zip(grid.T, maps, strict=True):
            upper.contourf(x, y, plane.probability, levels=sides, colors=colours, alpha=_TINT)
            mesh = middle.pcolormesh(
                x, y, plane.deviation, shading="nearest", rasterized=True, **heat
            )
            _draw_starts(lower, plane.starts, moons)
            upper.set_title(plane.name)
            for axes in (upper, middle, lower):
                _draw_points(axes, moons)
                axes.contour(x, y, plane.probability, levels=[0.5], colors="black", linewidths=2.6)
                axes.set(
                    aspect="equal", xticks=[], yticks=[], xlim=(x[0], x[-1]), ylim=(y[0], y[-1])
                )
        for axes, label in zip(
            grid[:, 0], ("predicted class", "uncertainty", "starting points"), strict=True
        ):
            axes.set_ylabel(label)
        figure.colorbar(mesh, ax=grid[1], pad=0.02, label="std over re-drawn batches")
        label = "decision boundary, population statistics"
        boundary = Line2D([], [], color="black", linewidth=2.6, label=label)
        handles = [*grid[0, 0].get_legend_handles_labels()[0], boundary]
        figure.legend(handles=handles, loc="outside upper center", ncols=4)
        figure.supxlabel(caption, fontsize=9)
    return figure


def _draw_starts(axes: "Axes", starts: Starts, moons: Samples) -> None:
    """Draw each restored starting point in the colour of its label, joined to its input."""
    labels = moons.labels.repeat(len(starts.points) // len(moons.labels))
    for label, (colour, _) in enumerate(_CLASSES):
        chosen = starts.restored & (labels == label)
        lines = torch.stack([starts.inputs[chosen], starts.points[chosen]]).numpy()
        axes.plot(*lines.transpose(2, 0, 1), color=colour, linewidth=0.5, alpha=0.5)
        x, y = lines[1].T
        dots = axes.scatter(x, y, s=12, color=colour, zorder=5)
        dots.set(edgecolors="white", linewidths=0.4)


def _draw_points(axes: "Axes", moons: Samples) -> None:
    """Draw unlabelled points small and pale, and labelled points large with marker and colour."""
    style: dict[str, Any] = {"s": 5, "color": _PALE, "alpha": 0.55, "linewidths": 0}
    axes.scatter(*moons.unlabelled.numpy().T, label="no label", rasterized=True, **style)
    for label, (colour, marker) in enumerate(_CLASSES):
        x, y = moons.labelled[moons.labels == label].numpy().T
        points = axes.scatter(x, y, s=90, color=colour, marker=marker, label=f"label {label}")
        points.set(edgecolors="white", linewidths=1.4, zorder=4)


def difference_figure(starts: Mapping[str, Starts], labelled: Tensor, caption: str) -> "Figure":
    """Draw labelled images (N, 1, H, W) and, by norm, starting point minus image.

    There are 5 evenly chosen images, the inputs of all starting points, and several redraws of the
    statistics. All differences have the same colour scale.
    """
    chosen = [row * len(labelled) // _ROWS for row in range(min(_ROWS, len(labelled)))]
    columns = {
        f"{norm}, {redraw}": differences
        for norm, found in starts.items()
        for redraw, differences in enumerate(
            (found.points - found.inputs).view(-1, *labelled.shape)[:_REDRAWS, chosen, 0], start=1
        )
    }
    top = max(float(differences.abs().max()) for differences in columns.values())
    with drawing(1.9 + len(columns), 1.0 + len(chosen)) as figure:
        grid = figure.subplots(len(chosen), 1 + len(columns), squeeze=False)
        grid[0, 0].set_title("labelled")
        for axes, image in zip(grid[:, 0], labelled[chosen], strict=True):
            axes.imshow(image[0].numpy(), cmap="gray_r")
        for column, (title, differences) in zip(grid[:, 1:].T, columns.items(), strict=True):
            column[0].set_title(title)
            for axes, difference in zip(column, differences, strict=True):
                mesh = axes.imshow(difference.numpy(), cmap="RdBu_r", vmin=-top, vmax=top)
        for axes in grid.flat:
            axes.set(xticks=[], yticks=[])
        figure.colorbar(mesh, ax=grid[:, 1:], pad=0.02, label="starting point - image")
        figure.supxlabel(caption, fontsize=9)
    return figure


def gap_figure(
    values: Mapping[str, Sequence[LayerValues]], gaps: Mapping[str, Gaps], caption: str
) -> "Figure":
    """Draw histograms of a channel, and gap and shift over the number of labels, for each layer.

    Each layer has a column. The upper rows, one for each norm, show the channel with the median
    gap, from the `values` of each layer of one network; the two lower rows show gap and shift.
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
            for (norm, of_norm), colour in zip(gaps.items(), (BLUE, VERMILION), strict=True):
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
    styles: dict[str, dict[str, Any]] = {
        "unlabelled": {"color": GREY, "alpha": 0.45},
        "labelled": {"color": "black", "histtype": "step"},
    }
    for label, style in styles.items():
        of_channel = getattr(values, label)[:, channel].numpy()
        axes.hist(of_channel, _BINS, density=True, label=label, **style)
    axes.set_xlabel("value / population deviation")


def _draw_line(
    axes: "Axes", line: Mapping[int, Sequence[float]], label: str, colour: str, dashes: str
) -> None:
    """Draw means over seeds and, as a band, their standard deviation."""
    means = np.array([np.mean(values) for values in line.values()])
    spread = np.array([np.std(v, ddof=1) if len(v) > 1 else 0 for v in line.values()])
    axes.plot(list(line), means, dashes, color=colour, marker="o", markersize=3, label=label)
    axes.fill_between(list(line), means - spread, means + spread, color=colour, alpha=0.15, lw=0)
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(line), [str(labels) for labels in line])
    axes.set_xlabel("labels per class")
