"""Collapse monitors: functions of embeddings, and one object that watches a run with them.

Every name of `MONITORS` is a function here. Importing this needs no torch; using a monitor does.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ssl_norm.monitors.loss_floor import loss_at_collapse as loss_at_collapse
from ssl_norm.monitors.registry import MONITORS as MONITORS
from ssl_norm.monitors.registry import MonitorEntry as MonitorEntry
from ssl_norm.monitors.verdict import Thresholds as Thresholds
from ssl_norm.monitors.verdict import Verdict as Verdict

if TYPE_CHECKING:
    from ssl_norm.models.stages import layers_of as layers_of
    from ssl_norm.monitors.alignment_uniformity import alignment as alignment
    from ssl_norm.monitors.alignment_uniformity import uniformity as uniformity
    from ssl_norm.monitors.collapse_monitor import CollapseMonitor as CollapseMonitor
    from ssl_norm.monitors.correlation import off_diagonal_correlation as off_diagonal_correlation
    from ssl_norm.monitors.cosine import negative_cosine as negative_cosine
    from ssl_norm.monitors.cosine import positive_cosine as positive_cosine
    from ssl_norm.monitors.cosine import positive_negative_cosine as positive_negative_cosine
    from ssl_norm.monitors.discriminant_rank import lidar as lidar
    from ssl_norm.monitors.layers import LayerMonitor as LayerMonitor
    from ssl_norm.monitors.layers import LayerRow as LayerRow
    from ssl_norm.monitors.lightning import CollapseCallback as CollapseCallback
    from ssl_norm.monitors.rank import effective_rank as effective_rank
    from ssl_norm.monitors.rank import rank_me as rank_me
    from ssl_norm.monitors.spectrum import alpha_req as alpha_req
    from ssl_norm.monitors.spectrum import cev_auc as cev_auc
    from ssl_norm.monitors.spectrum import covariance_spectrum as covariance_spectrum
    from ssl_norm.monitors.spectrum import ne_sum as ne_sum
    from ssl_norm.monitors.spectrum import participation_ratio as participation_ratio
    from ssl_norm.monitors.spread import dead_dimensions as dead_dimensions
    from ssl_norm.monitors.spread import feature_std as feature_std
    from ssl_norm.monitors.spread import std_per_dimension as std_per_dimension

# What is no scalar function of embeddings, and so has no line in MONITORS.
_TARGETS = {
    "CollapseCallback": "ssl_norm.monitors.lightning:CollapseCallback",
    "CollapseMonitor": "ssl_norm.monitors.collapse_monitor:CollapseMonitor",
    "LayerMonitor": "ssl_norm.monitors.layers:LayerMonitor",
    "LayerRow": "ssl_norm.monitors.layers:LayerRow",
    "covariance_spectrum": "ssl_norm.monitors.spectrum:covariance_spectrum",
    "layers_of": "ssl_norm.models.stages:layers_of",
    "positive_negative_cosine": "ssl_norm.monitors.cosine:positive_negative_cosine",
    "std_per_dimension": "ssl_norm.monitors.spread:std_per_dimension",
}


def __getattr__(name: str) -> Any:
    """Import a monitor when it is first asked for."""
    target = MONITORS[name].target if name in MONITORS else _TARGETS.get(name)
    if target is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)
