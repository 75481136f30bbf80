"""Monitors of collapse: functions of embeddings, and CollapseMonitor, which calls them in runs.

Every name of `MONITORS` is a function here. Values are in float64 if the device has it, and NaN for
embeddings with NaN or infinity; another shape than documented raises ValueError. Importing this
needs no torch; using a monitor does.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ssl_norm.monitors.verdict import Thresholds as Thresholds
from ssl_norm.monitors.verdict import Verdict as Verdict
from ssl_norm.registry import Registry

if TYPE_CHECKING:
    from ssl_norm.models.stages import layers_of as layers_of
    from ssl_norm.monitors.collapse_monitor import CollapseMonitor as CollapseMonitor
    from ssl_norm.monitors.declare import monitor as monitor
    from ssl_norm.monitors.layers import LayerMonitor as LayerMonitor
    from ssl_norm.monitors.layers import LayerRow as LayerRow
    from ssl_norm.monitors.lightning import CollapseCallback as CollapseCallback
    from ssl_norm.monitors.similarity import positive_negative_cosine as positive_negative_cosine
    from ssl_norm.monitors.spectrum import covariance_spectrum as covariance_spectrum
    from ssl_norm.monitors.spread import std_per_dimension as std_per_dimension
    from ssl_norm.monitors.transformers import CollapseTrainerCallback as CollapseTrainerCallback
    from ssl_norm.monitors.watch import CollapseWatch as CollapseWatch
    from ssl_norm.monitors.watch import attach as attach

# Their order is that of columns, tables and charts.
MONITORS = Registry(
    "monitor",
    {
        "positive_cosine": "ssl_norm.monitors.similarity:positive_cosine",
        "negative_cosine": "ssl_norm.monitors.similarity:negative_cosine",
        "feature_std": "ssl_norm.monitors.spread:feature_std",
        "rank_me": "ssl_norm.monitors.rank:rank_me",
        "effective_rank": "ssl_norm.monitors.rank:effective_rank",
        "participation_ratio": "ssl_norm.monitors.spectrum:participation_ratio",
        "ne_sum": "ssl_norm.monitors.spectrum:ne_sum",
        "alpha_req": "ssl_norm.monitors.spectrum:alpha_req",
        "cev_auc": "ssl_norm.monitors.spectrum:cev_auc",
        "uniformity": "ssl_norm.monitors.similarity:uniformity",
        "off_diagonal_correlation": "ssl_norm.monitors.spread:off_diagonal_correlation",
        "dead_dimensions": "ssl_norm.monitors.spread:dead_dimensions",
        "alignment": "ssl_norm.monitors.similarity:alignment",
        "lidar": "ssl_norm.monitors.rank:lidar",
        "token_cosine": "ssl_norm.monitors.tokens:token_cosine",
        "token_outliers": "ssl_norm.monitors.tokens:token_outliers",
    },
    expects="a function decorated by ssl_norm.monitors.monitor(...)",
    attributes={"declaration": "ssl_norm.monitors.declare:Declaration"},
    trial="ssl_norm.monitors.declare:try_monitor",
)
_FURTHER = {
    "CollapseCallback": "ssl_norm.monitors.lightning",
    "CollapseMonitor": "ssl_norm.monitors.collapse_monitor",
    "CollapseTrainerCallback": "ssl_norm.monitors.transformers",
    "CollapseWatch": "ssl_norm.monitors.watch",
    "LayerMonitor": "ssl_norm.monitors.layers",
    "LayerRow": "ssl_norm.monitors.layers",
    "attach": "ssl_norm.monitors.watch",
    "covariance_spectrum": "ssl_norm.monitors.spectrum",
    "layers_of": "ssl_norm.models.stages",
    "monitor": "ssl_norm.monitors.declare",
    "positive_negative_cosine": "ssl_norm.monitors.similarity",
    "std_per_dimension": "ssl_norm.monitors.spread",
}


def __getattr__(name: str) -> Any:
    """Import a monitor, or one of `_FURTHER`, at its first use."""
    if name in MONITORS:
        return import_module("ssl_norm.monitors.declare").load_monitor(name)
    if name not in _FURTHER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_FURTHER[name]), name)
