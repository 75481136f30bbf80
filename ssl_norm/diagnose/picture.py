"""A diagnosis as a picture: spectrum, cosines, layers."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ssl_norm.diagnose.diagnosis import Diagnosis
from ssl_norm.figures.style import BLUE, GREEN, VERMILION, drawing
from ssl_norm.monitors.normalized import directions
from ssl_norm.monitors.spectrum import covariance_spectrum

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"projections": VERMILION, "features": BLUE}
FLOOR = 1e-12  # of eigenvalues on the log scale
SHIFTS = 8  # other images that each image is compared with in the histogram
LAYERS_SHOWN = (("negative_cosine", "viridis"), ("feature_std", "viridis_r"))  # bright: collapsed


def draw_diagnosis(found: Diagnosis, random_init: Diagnosis | None, title: str, path: Path) -> None:
    """Draw the spectra of directions, histograms of cosines and a heat map of the layers into a PNG."""
    height = max(3.6, 1.6 + 0.27 * len(found.layers))
    with drawing(15.5, height) as figure:
        panels = figure.subplots(1, 4, width_ratios=(1.2, 1.2, 0.8, 0.8))
        draw_spectra(panels[0], found, random_init)
        draw_cosines(panels[1], found.embeddings)
        for axes, (value, colours) in zip(panels[2:], LAYERS_SHOWN, strict=True):
            draw_layers(axes, found, random_init, value, colours)
        panels[3].set_yticklabels([])
        figure.suptitle(title, fontsize=10)
        figure.savefig(path, dpi=120)


def draw_spectra(axes: "Axes", found: Diagnosis, random_init: Diagnosis | None) -> None:
    """Draw eigenvalue over index of the covariance of directions; a low line has collapsed."""
    for diagnosis, style in ((found, "-"), (random_init, ":")):
        if diagnosis is None:
            continue
        for name, views in diagnosis.embeddings.items():
            spectrum = covariance_spectrum(directions(views[0])).clamp(min=FLOOR).tolist()
            label = name if diagnosis is found else f"{name}, random init"
            axes.plot(
                range(1, len(spectrum) + 1), spectrum, style, color=COLOURS[name], label=label
            )
    axes.set(yscale="log", xscale="log", xlabel="index of the eigenvalue", ylabel="eigenvalue")
    axes.set_title("spectrum of directions")
    axes.grid()
    axes.legend(fontsize=8)


def draw_cosines(axes: "Axes", embeddings: dict[str, Tensor]) -> None:
    """Draw how the cosines of matching and of foreign views are distributed, each curve up to height 1."""
    for name, views in embeddings.items():
        matching, foreign = cosines(views)
        for values, colour, label in (
            (foreign, VERMILION, "different images"),
            (matching, GREEN, "two views of one image"),
        ):
            counts, edges = np.histogram(values.numpy().clip(-1, 1), bins=100, range=(-1, 1))
            axes.stairs(
                counts / counts.max(),
                edges,
                color=colour,
                linestyle="-" if name == "projections" else ":",
                linewidth=1.6,
                label=f"{name}: {label}",
            )
    axes.set(xlabel="cosine", ylabel="pairs, relative to the peak", xlim=(-1, 1.02), ylim=(0, 1.6))
    axes.set_title("cosines (all at 1: complete collapse)")
    axes.legend(fontsize=8, loc="upper left")


def cosines(views: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cosines of the first two views (q, N, D): (N,) of matching and (k N,) of foreign rows."""
    z, z_other = directions(views[0]), directions(views[1])
    shifts = range(1, min(SHIFTS, len(z) - 1) + 1)
    foreign = torch.cat([(z * z_other.roll(shift, 0)).sum(1) for shift in shifts])
    return (z * z_other).sum(1), foreign


def draw_layers(
    axes: "Axes", found: Diagnosis, random_init: Diagnosis | None, value: str, colours: str
) -> None:
    """Draw a value of each layer as a heat map, beside that of the random initialisation."""
    columns = [("trained", found)] + ([("random", random_init)] if random_init else [])
    cells = np.array([[getattr(row, value) for row in d.layers] for _, d in columns]).T
    image = axes.imshow(cells, vmin=0, vmax=1, cmap=colours, aspect="auto")
    for (line, column), number in np.ndenumerate(cells):
        bright = np.dot(image.to_rgba(np.array([[number]]))[0, 0, :3], (0.299, 0.587, 0.114)) > 0.5
        colour = "black" if bright else "white"
        axes.text(column, line, f"{number:.3f}", ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(len(columns)), [name for name, _ in columns])
    axes.set_yticks(range(len(found.layers)), [row.layer for row in found.layers])
    axes.tick_params(length=0)
    axes.set_title(value.replace("_", " "))
