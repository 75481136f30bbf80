"""Every monitor of the registry, of the outputs of a network at rest."""

from collections.abc import Mapping
from math import nan

from torch import Tensor

from ssl_norm.diagnose.outputs import Outputs
from ssl_norm.monitors.declare import load_monitor
from ssl_norm.monitors.layers import LayerRow, layer_values
from ssl_norm.monitors.registry import MONITORS
from ssl_norm.monitors.spectral import measure_spectrum, spectral_monitors


def measure(views: Tensor) -> dict[str, float]:
    """Return every monitor by name, and `dimensions`, what ranks are bounded by.

    As in a run's :class:`ssl_norm.monitors.collapse_monitor.CollapseMonitor`, all are of directions,
    rows of length 1. LiDAR, which runs do not measure, is of the embeddings as they are.

    Args:
        views: (q, N, D) embeddings of q >= 2 views of N images. Monitors of one set of embeddings
            take the first view, those of a pair the first two, LiDAR all.
    """
    in_runs = spectral_monitors()
    measured = measure_spectrum(views[0], [(views[0], views[1])], in_runs).values.tolist()
    spectral = dict(zip(in_runs, measured, strict=True))
    values = {name: spectral[name] if name in spectral else _call(name, views) for name in MONITORS}
    return values | {"dimensions": float(min(views.shape[1] - 1, views.shape[2]))}


def measure_raw(views: Tensor) -> dict[str, float]:
    """Return the spectral measurements of the embeddings (q, N, D) as they are, lengths of rows included.

    These are the monitors of a run that do not normalize rows themselves. A few long rows can carry
    nearly all the variance, and so lower these ranks without any collapse of directions.
    """
    lengths_matter = ("nothing", "centres")
    return {
        name: _call(name, views)
        for name, function in spectral_monitors().items()
        if function.declaration.prepares in lengths_matter
    }


def _call(name: str, views: Tensor) -> float:
    """Return a function of the registry of what it takes from the views."""
    arguments: Mapping[str, tuple[Tensor, ...]] = {
        "embeddings": (views[0],),
        "pair": (views[0], views[1]),
        "views": (views.transpose(0, 1),),
    }
    function = load_monitor(name)
    return float(function(*arguments[function.declaration.inputs]))


def measure_layers(outputs: Outputs, step: int) -> list[LayerRow]:
    """Return a row for each layer, in the order of the data; there are no gradients at rest."""
    rows = []
    for name, views in outputs.layers.items():
        positive, negative, std, rank = layer_values(*views).tolist()
        rows.append(LayerRow(step, name, positive, negative, std, rank, nan))
    return rows
