"""Every monitor of the registry, of the outputs of a network at rest."""

from collections.abc import Mapping
from importlib import import_module
from math import nan

from torch import Tensor

from ssl_norm.diagnose.outputs import Outputs
from ssl_norm.monitors.layers import LayerRow, layer_values
from ssl_norm.monitors.registry import MONITORS


def measure(views: Tensor) -> dict[str, float]:
    """Return every monitor by name, and `dimensions`, what ranks are bounded by.

    Args:
        views: (q, N, D) embeddings of q >= 2 views of N images. Monitors of one set of embeddings
            take the first view, those of a pair the first two, LiDAR all.
    """
    _, count, width = views.shape
    arguments: Mapping[str, tuple[Tensor, ...]] = {
        "embeddings": (views[0],),
        "pair": (views[0], views[1]),
        "views": (views.transpose(0, 1),),
    }
    values: dict[str, float] = {}
    for name, entry in MONITORS.items():
        module, _, function = entry.target.partition(":")
        monitor = getattr(import_module(module), function)
        values[name] = float(monitor(*arguments[entry.inputs]))
    return values | {"dimensions": float(min(count - 1, width))}


def measure_layers(outputs: Outputs, step: int) -> list[LayerRow]:
    """Return a row for each layer, in the order of the data; there are no gradients at rest."""
    rows = []
    for name, views in outputs.layers.items():
        positive, negative, std, rank = layer_values(*views).tolist()
        rows.append(LayerRow(step, name, positive, negative, std, rank, nan))
    return rows
