"""Names of all monitors; each is declared at its function. Needs no torch."""

from ssl_norm.registry import Registry

# Their order is that of columns, tables and charts.
MONITORS = Registry(
    "monitor",
    {
        "positive_cosine": "ssl_norm.monitors.cosine:positive_cosine",
        "negative_cosine": "ssl_norm.monitors.cosine:negative_cosine",
        "feature_std": "ssl_norm.monitors.spread:feature_std",
        "rank_me": "ssl_norm.monitors.rank:rank_me",
        "effective_rank": "ssl_norm.monitors.rank:effective_rank",
        "participation_ratio": "ssl_norm.monitors.spectrum:participation_ratio",
        "ne_sum": "ssl_norm.monitors.spectrum:ne_sum",
        "alpha_req": "ssl_norm.monitors.spectrum:alpha_req",
        "cev_auc": "ssl_norm.monitors.spectrum:cev_auc",
        "uniformity": "ssl_norm.monitors.alignment_uniformity:uniformity",
        "off_diagonal_correlation": "ssl_norm.monitors.correlation:off_diagonal_correlation",
        "dead_dimensions": "ssl_norm.monitors.spread:dead_dimensions",
        "alignment": "ssl_norm.monitors.alignment_uniformity:alignment",
        "lidar": "ssl_norm.monitors.discriminant_rank:lidar",
    },
)
