"""Collapse monitors: functions of embeddings, and one object that watches a run with them."""

from ssl_norm.monitors.collapse_monitor import CollapseMonitor
from ssl_norm.monitors.cosine import positive_negative_cosine
from ssl_norm.monitors.rank import rank_me
from ssl_norm.monitors.spread import feature_std
from ssl_norm.monitors.verdict import Verdict

__all__ = ["CollapseMonitor", "Verdict", "feature_std", "positive_negative_cosine", "rank_me"]
