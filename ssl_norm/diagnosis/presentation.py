"""Tables and figure of a diagnosis."""

from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text
from torch import Tensor

from ssl_norm.console import coloured, say, show
from ssl_norm.diagnosis.diagnosis import LAYER_VALUES, RANDOM_INIT, Diagnosis
from ssl_norm.figures.spectrum import FLOOR
from ssl_norm.figures.style import BLUE, GREEN, VERMILION, drawing, save_figure, write_number
from ssl_norm.monitors import MONITORS
from ssl_norm.monitors.declare import load_monitor
from ssl_norm.monitors.normalized import directions
from ssl_norm.monitors.spectrum import covariance_spectrum

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LAYER_HEADINGS = ("positive", "negative", "std", "RankMe")
_VERDICT_COLOURS = {"healthy": "green", "complete": "red"}


def print_diagnosis(found: Diagnosis, random_init: Diagnosis | None) -> None:
    """Print the tables, their notes, and the verdict."""
    show([monitor_table(found, random_init), layer_table(found, random_init)])
    notes = [
        "monitors: rows are L2-normalized, as in a run (except for LiDAR); values without "
        "normalization and the thresholds of the verdicts are in the JSON file"
    ]
    if random_init is not None:
        images = random_init.embeddings["features"].shape[1]
        notes.append(f"random: {images} images; {RANDOM_INIT}")
    say(*(coloured((line, "dim")) for line in notes), stderr=False)
    say(*verdict_lines(found), stderr=False)


def monitor_table(found: Diagnosis, random_init: Diagnosis | None) -> Table:
    """Return a row per monitor for projections and features, next to the randomly initialised ones.

    Embeddings are L2-normalized, as in a run. The last column is the value at complete collapse.
    """
    table = _table("monitors")
    for name in found.parts:
        table.add_column(name, justify="right", no_wrap=True)
        if random_init is not None:
            table.add_column("random", justify="right", style="dim", no_wrap=True)
    table.add_column("collapsed", justify="right", style="dim", no_wrap=True)
    measured = [name for name in MONITORS if name in next(iter(found.parts.values()))]
    ends = {name: _number(load_monitor(name).declaration.at_collapse) for name in measured}
    for monitor, end in {**ends, "dimensions": ""}.items():
        both = [found] if random_init is None else [found, random_init]
        cells = [_number(one.parts[name][monitor]) for name in found.parts for one in both]
        label = monitor if end else "most dimensions"
        table.add_row(label.replace("_", " "), *cells, end)
    return table


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    return table


def layer_table(found: Diagnosis, random_init: Diagnosis | None) -> Table:
    """Return a row per layer: cosines, feature std and RankMe; collapsed layers are red."""
    table = _table("layers")
    for heading in _LAYER_HEADINGS:
        table.add_column(heading, justify="right")
    random_rows = {row.layer: row for row in random_init.layers} if random_init else {}
    if random_rows:
        table.add_column("std, random", justify="right", style="dim")
    collapsed = False
    for row in found.layers:
        cells = [_number(getattr(row, name)) for name in LAYER_VALUES]
        if random_rows:
            cells.append(_number(random_rows[row.layer].feature_std))
        collapsed = collapsed or row.layer == found.collapse_begins_at
        table.add_row(row.layer, *cells, style="red" if collapsed else "")
    return table


def verdict_lines(found: Diagnosis) -> list[Text]:
    """Return the verdict and the evidence of each part."""
    lines = [
        coloured(f"{name}: ", _coloured(one.verdict), f" ({one.evidence})")
        for name, one in found.judgements.items()
    ]
    if found.collapse_begins_at is not None:
        lines.append(coloured(f"the collapse begins at layer {found.collapse_begins_at}"))
    return [coloured(("verdict: ", "bold"), _coloured(found.verdict, "bold ")), *lines]


def _coloured(verdict: str, weight: str = "") -> tuple[str, str]:
    return verdict, weight + _VERDICT_COLOURS.get(verdict, "yellow")


def _number(value: float) -> str:
    """Return a value with four decimals below 10 and one above; a dash if it is undefined."""
    if not isfinite(value):
        return "-"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"


_COLOURS = {"projections": VERMILION, "features": BLUE}
_SHIFTS = 8  # number of other images with which the histogram compares each image
_LAYERS_SHOWN = (("negative_cosine", "viridis"), ("feature_std", "viridis_r"))  # bright: collapsed


def draw_diagnosis(found: Diagnosis, random_init: Diagnosis | None, title: str, path: Path) -> None:
    """Draw spectra, histograms of cosines and heat maps of the layers into a PNG."""
    shown = {"": found} | ({"random init": random_init} if random_init else {})
    with drawing(15.5, max(3.6, 1.6 + 0.27 * len(found.layers))) as figure:
        panels = figure.subplots(1, 4, width_ratios=(1.2, 1.2, 0.8, 0.8))
        _draw_spectra(panels[0], shown)
        _draw_cosines(panels[1], found.embeddings)
        for axes, (value, colours) in zip(panels[2:], _LAYERS_SHOWN, strict=True):
            _draw_layers(axes, shown, value, colours)
        panels[3].set_yticklabels([])
        figure.suptitle(title, fontsize=10)
        save_figure(figure, path)


def _draw_spectra(axes: "Axes", shown: dict[str, Diagnosis]) -> None:
    """Draw the spectra of L2-normalized embeddings; a low line shows collapse."""
    for suffix, diagnosis in shown.items():
        for name, views in diagnosis.embeddings.items():
            spectrum = covariance_spectrum(directions(views[0])).clamp(min=FLOOR).tolist()
            indices = range(1, len(spectrum) + 1)
            label = f"{name}, {suffix}" if suffix else name
            axes.plot(indices, spectrum, ":" if suffix else "-", color=_COLOURS[name], label=label)
    axes.set(yscale="log", xscale="log", xlabel="index of the eigenvalue", ylabel="eigenvalue")
    axes.set_title("spectrum, rows L2-normalized")
    axes.grid()
    axes.legend(fontsize=8)


def _draw_cosines(axes: "Axes", embeddings: dict[str, Tensor]) -> None:
    """Draw histograms of the cosines of matching and of other views, scaled to height 1."""
    for name, views in embeddings.items():
        matching, foreign = cosines(views)
        style = "-" if name == "projections" else ":"
        for values, colour, label in (
            (foreign, VERMILION, f"{name}: different images"),
            (matching, GREEN, f"{name}: two views of one image"),
        ):
            counts, edges = np.histogram(values.numpy().clip(-1, 1), bins=100, range=(-1, 1))
            heights = counts / counts.max()
            axes.stairs(heights, edges, color=colour, linestyle=style, linewidth=1.6, label=label)
    axes.set(xlabel="cosine", ylabel="pairs, relative to the peak", xlim=(-1, 1.02), ylim=(0, 1.6))
    axes.set_title("cosines (all at 1: complete collapse)")
    axes.legend(fontsize=8, loc="upper left")


def cosines(views: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cosines of two views (q, N, D): (N,) of the same image, (k N,) of other images."""
    z, z_other = directions(views[0]), directions(views[1])
    shifts = range(1, min(_SHIFTS, len(z) - 1) + 1)
    foreign = torch.cat([(z * z_other.roll(shift, 0)).sum(1) for shift in shifts])
    return (z * z_other).sum(1), foreign


def _draw_layers(axes: "Axes", shown: dict[str, Diagnosis], value: str, colours: str) -> None:
    cells = np.array([[getattr(row, value) for row in d.layers] for d in shown.values()]).T
    image = axes.imshow(cells, vmin=0, vmax=1, cmap=colours, aspect="auto")
    for (line, column), number in np.ndenumerate(cells):
        write_number(axes, image, (column, line), number, f"{number:.3f}")
    axes.set_xticks(range(len(shown)), ["trained", "random"][: len(shown)])
    layers = [row.layer for row in shown[""].layers]
    axes.set_yticks(range(len(layers)), layers)
    axes.tick_params(length=0)
    axes.set_title(value.replace("_", " "))
