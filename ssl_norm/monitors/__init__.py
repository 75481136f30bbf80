"""Monitors of collapse: functions of embeddings, and CollapseMonitor, which calls them in runs.

Every name of `MONITORS` is a function here. Importing this needs no torch; using a monitor does.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ssl_norm.monitors.registry import MONITORS as MONITORS
from ssl_norm.monitors.verdict import Thresholds as Thresholds
from ssl_norm.monitors.verdict import Verdict as Verdict

if TYPE_CHECKING:
    from ssl_norm.models.stages import layers_of as layers_of
    from ssl_norm.monitors.collapse_monitor import CollapseMonitor as CollapseMonitor
    from ssl_norm.monitors.cosine import positive_negative_cosine as positive_negative_cosine
    from ssl_norm.monitors.declare import monitor as monitor
    from ssl_norm.monitors.layers import LayerMonitor as LayerMonitor
    from ssl_norm.monitors.layers import LayerRow as LayerRow
    from ssl_norm.monitors.lightning import CollapseCallback as CollapseCallback
    from ssl_norm.monitors.spectrum import covariance_spectrum as covariance_spectrum
    from ssl_norm.monitors.spread import std_per_dimension as std_per_dimension

_FURTHER = {
    "CollapseCallback": "ssl_norm.monitors.lightning",
    "CollapseMonitor": "ssl_norm.monitors.collapse_monitor",
    "LayerMonitor": "ssl_norm.monitors.layers",
    "LayerRow": "ssl_norm.monitors.layers",
    "covariance_spectrum": "ssl_norm.monitors.spectrum",
    "layers_of": "ssl_norm.models.stages",
    "monitor": "ssl_norm.monitors.declare",
    "positive_negative_cosine": "ssl_norm.monitors.cosine",
    "std_per_dimension": "ssl_norm.monitors.spread",
}


def __getattr__(name: str) -> Any:
    """Import a monitor, or one of `_FURTHER`, when it is first asked for."""
    if name in MONITORS:
        return import_module("ssl_norm.monitors.declare").load_monitor(name)
    if name not in _FURTHER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_FURTHER[name]), name)
