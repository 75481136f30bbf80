"""Figures of representative batch norm: spread of the channel means, and calibration weights."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from ssl_norm.data.batches.sampler import epoch_order
from ssl_norm.data.dataset import ImageSet
from ssl_norm.errors import UserError
from ssl_norm.evaluate.checkpoint import Checkpoint
from ssl_norm.figures.style import BLUE, GREY, drawing
from ssl_norm.norms.batch.batch_statistics import pool
from ssl_norm.norms.batch.freezing import evaluation_mode
from ssl_norm.norms.core import instance_moments
from ssl_norm.norms.swap.find import batch_norm_calls
from ssl_norm.reporting.figures.parts import PANELS, WIDTH, FigureFile, panels
from ssl_norm.reporting.frame import Group, norm_options
from ssl_norm.reporting.read import RunRecord
from ssl_norm.reporting.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

IMAGES = 512  # number of test images on which the spread is measured
BINS = 24
WEIGHTS = ("center_weight", "scale_weight", "scale_bias")


class Layer(NamedTuple):
    """Measurements of one norm of one run."""

    before: Tensor  # `channel_mean_spread` of its input, (C,)
    after: Tensor  # `channel_mean_spread` of its output, (C,)
    weights: Mapping[str, Tensor]  # calibration weights by name, each (C,)


Layers = Mapping[str, Sequence[Layer]]  # by the name of the norm, a layer of each run


def channel_mean_spread(x: Tensor) -> Tensor:
    """Return the std over instances of each channel's mean, in units of the channel's std.

    For x (N, C, *spatial), the result is (C,) in [0, 1], and NaN for a constant channel. It is 1 if
    every instance has the same value at all positions, and 0 if all instances have the same mean. A
    norm with the same scale and shift for all instances does not change it.
    """
    means, variances = instance_moments(x)
    _, variance = pool(means, variances)
    return means.std(0, correction=0) / variance[0].sqrt()


def calibration(groups: Sequence[Group]) -> Iterator[FigureFile]:
    """Yield spread and calibration weights by layer, if a run with rbn has checkpoint and images.

    Of the groups with bn or rbn in the encoder, as many as fit on one page are drawn.
    """
    norms = {group.label: group.runs[0].config.get("norm", {}).get("encoder") for group in groups}
    names = {label: str(norm_options(norm).get("name")) for label, norm in norms.items()}
    if "rbn" not in names.values():
        return
    found: dict[str, Layers] = {}
    images: dict[str, ImageSet] = {}
    for group in groups:
        if names[group.label] in ("bn", "rbn") and len(found) < PANELS:
            layers = _measured(group.runs, images)
            found |= {group.label: layers} if layers else {}
    weighted = {label: layers for label, layers in found.items() if _weights_of(layers)}
    if weighted:
        yield _spread_figure(found)
        yield _weights_figure(weighted)


def _measured(runs: Sequence[RunRecord], images: dict[str, ImageSet]) -> Layers:
    """Return the layers of runs whose checkpoint and images exist; `images` caches them."""
    found: dict[str, list[Layer]] = {}
    for run in runs:
        try:
            checkpoint = Checkpoint.read(run.folder, {})
            source = f"{checkpoint.data} {checkpoint.seed}"
            if source not in images:
                splits = checkpoint.images()
                images[source] = splits.pretrain if splits.test is None else splits.test
            layers = _layers(checkpoint, images[source])
        except UserError:
            continue
        for name, layer in layers.items():
            found.setdefault(name, []).append(layer)
    return found


@torch.no_grad()
def _layers(checkpoint: Checkpoint, images: ImageSet) -> Mapping[str, Layer]:
    """Return the measurements of each batch norm of the encoder, in the order of their calls."""
    _, network = checkpoint.networks()
    found: dict[str, Layer] = {}

    def measure(name: str, norm: nn.Module, x: Tensor, output: Tensor) -> None:
        weights = {key: value for key in WEIGHTS if (value := getattr(norm, key, None)) is not None}
        layer = Layer(channel_mean_spread(x), channel_mean_spread(output), weights)
        found[name.removeprefix("encoder.")] = layer

    some = epoch_order(len(images), 0, 0)[:IMAGES]
    with evaluation_mode(network), batch_norm_calls(network, measure):
        network(checkpoint.evaluation_view(images.take(some)))
    return found


def _weights_of(layers: Layers) -> list[str]:
    of_runs = [layer.weights for runs in layers.values() for layer in runs]
    return [name for name in WEIGHTS if any(name in weights for weights in of_runs)]


def _spread_figure(found: Mapping[str, Layers]) -> FigureFile:
    rows = []
    with panels(list(found), "spread of means") as (figure, grid):
        for axes, (label, layers) in zip(grid, found.items(), strict=True):
            medians = []
            for side, colour, style in (("before", GREY, "--"), ("after", BLUE, "-")):
                pooled = [torch.cat([getattr(run, side) for run in r]) for r in layers.values()]
                _draw_quartiles(axes, pooled, side, colour, style)
                medians.append([f"{values.nanquantile(0.5):.3f}" for values in pooled])
            axes.set_xticks(range(len(layers)), list(layers), rotation=90, fontsize=7)
            rows += [[label, *row] for row in zip(layers, *medians, strict=True)]
    caption = (
        "Spread of the channel means before and after each norm of the encoder: standard deviation "
        "over instances of a channel's mean over space, in units of the channel's standard "
        f"deviation. Median and quartiles over channels and runs, on {IMAGES} test images in "
        "evaluation mode. Batch norm does not change the spread."
    )
    table = Table(["group", "layer", "spread before", "spread after"], rows)
    return FigureFile("calibration_spread", figure, caption, table, table)


def _draw_quartiles(
    axes: "Axes", layers: Sequence[Tensor], label: str, colour: str, style: str
) -> None:
    quarters = torch.tensor([0.25, 0.5, 0.75])
    low, middle, high = zip(*(v.nanquantile(quarters).tolist() for v in layers), strict=True)
    places = range(len(layers))
    axes.plot(places, middle, color=colour, linestyle=style, marker="o", markersize=3, label=label)
    axes.fill_between(places, low, high, color=colour, alpha=0.18, linewidth=0)


def _weights_figure(found: Mapping[str, Layers]) -> FigureFile:
    with drawing(WIDTH, 0.8 + 1.7 * len(found)) as figure:
        grid = figure.subplots(len(found), len(WEIGHTS), squeeze=False)
        for line, (label, layers) in zip(grid, found.items(), strict=True):
            shown = _weights_of(layers)
            for axes, weight in zip(line, WEIGHTS, strict=True):
                if weight in shown:
                    _draw_histograms(axes, layers, weight, named=weight == shown[0])
                else:
                    axes.set_visible(False)
            line[WEIGHTS.index(shown[0])].set_ylabel(label, fontsize=8)
    caption = (
        "Histograms of the learned calibration weights by layer, with the first layer on top; dark: "
        "many channels, over all runs; dashed: the initial value."
    )
    return FigureFile("calibration_weights", figure, caption)


def _draw_histograms(axes: "Axes", layers: Layers, weight: str, named: bool) -> None:
    values = [torch.cat([run.weights[weight] for run in runs]) for runs in layers.values()]
    everything = torch.cat(values)
    # 1e-6: the range is not empty even if all values are equal
    low, high = everything.min().item(), everything.max().item() + 1e-6
    counts = [torch.histc(each, BINS, low, high) / len(each) for each in values]
    edges = torch.linspace(low, high, BINS + 1).tolist()
    axes.pcolormesh(edges, range(len(values) + 1), torch.stack(counts).numpy(), cmap="Greys")
    axes.axvline(float(weight == "scale_bias"), color=BLUE, linestyle="--", linewidth=1)
    axes.set_title(weight.replace("_", " "), fontsize=8)
    names = list(layers) if named else [""] * len(layers)
    axes.set_yticks([place + 0.5 for place in range(len(values))], names, fontsize=6)
    axes.invert_yaxis()
