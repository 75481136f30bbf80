"""The names of all monitors that measure one number, without torch: tables and errors answer at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan
from types import MappingProxyType
from typing import Literal


@dataclass(frozen=True)
class MonitorEntry:
    """One monitor: where its function lives, what it takes, costs and returns.

    Attributes:
        target: `module:function`; called without options, it returns a scalar.
        inputs: `embeddings` (N, D), `pair` two such, matching by row, or `views` (n, q, D).
        prepares: what the function itself does to the rows first: `normalizes` each to length 1,
            `centres` them, does `both` in this order, or `nothing`.
        cost: `linear` O(N D); `quadratic` O(N D^2) or O(N^2 D); `spectral`, an eigenvalue
            decomposition of the smaller of N and D besides.
        at_collapse: value where all embeddings are equal; NaN: not defined there.
        at_even: value where directions are spread evenly, in words.
        equation: one line for the table of monitors; z: rows so prepared, s: their singular values.
        source: paper.
    """

    target: str
    inputs: Literal["embeddings", "pair", "views"]
    prepares: Literal["normalizes", "centres", "both", "nothing"]
    cost: Literal["linear", "quadratic", "spectral"]
    at_collapse: float
    at_even: str
    equation: str
    source: str


MONITORS: Mapping[str, MonitorEntry] = MappingProxyType(
    {
        "positive_cosine": MonitorEntry(
            "ssl_norm.monitors.cosine:positive_cosine",
            "pair",
            "normalizes",
            "linear",
            1.0,
            "any: 1 if views agree",
            "mean_i z_i . z'_i",
            "imbue-ai/self_supervised",
        ),
        "negative_cosine": MonitorEntry(
            "ssl_norm.monitors.cosine:negative_cosine",
            "pair",
            "normalizes",
            "linear",
            1.0,
            "about 0",
            "mean_{i != j} z_i . z'_j",
            "imbue-ai/self_supervised",
        ),
        "feature_std": MonitorEntry(
            "ssl_norm.monitors.spread:feature_std",
            "embeddings",
            "normalizes",
            "linear",
            0.0,
            "1",
            "sqrt(D) mean_d std_n(z[n, d])",
            "arXiv 2011.10566",
        ),
        "dead_dimensions": MonitorEntry(
            "ssl_norm.monitors.spread:dead_dimensions",
            "embeddings",
            "normalizes",
            "linear",
            1.0,
            "0",
            "mean_d [sqrt(D) std_n(z[n, d]) < 0.05]",
            "own definition",
        ),
        "alignment": MonitorEntry(
            "ssl_norm.monitors.alignment_uniformity:alignment",
            "pair",
            "normalizes",
            "linear",
            0.0,
            "any: 0 if views agree",
            "mean_i |z_i - z'_i|^2",
            "arXiv 2005.10242",
        ),
        "uniformity": MonitorEntry(
            "ssl_norm.monitors.alignment_uniformity:uniformity",
            "embeddings",
            "normalizes",
            "quadratic",
            0.0,
            "about -4",
            "log mean_{i < j} exp(-2 |z_i - z_j|^2)",
            "arXiv 2005.10242",
        ),
        "off_diagonal_correlation": MonitorEntry(
            "ssl_norm.monitors.correlation:off_diagonal_correlation",
            "embeddings",
            "centres",
            "quadratic",
            0.0,
            "about 1/sqrt(N)",
            "sqrt(mean_{d != e} r_de^2), r: correlation; 1 at rank one",
            "arXiv 2103.03230",
        ),
        "rank_me": MonitorEntry(
            "ssl_norm.monitors.rank:rank_me",
            "embeddings",
            "nothing",
            "spectral",
            1.0,
            "min(N, D)",
            "exp(entropy of s / sum s + 1e-7)",
            "arXiv 2210.02885",
        ),
        "effective_rank": MonitorEntry(
            "ssl_norm.monitors.rank:effective_rank",
            "embeddings",
            "centres",
            "spectral",
            0.0,
            "min(N - 1, D)",
            "exp(entropy of s / sum s)",
            "Roy & Vetterli 2007",
        ),
        "participation_ratio": MonitorEntry(
            "ssl_norm.monitors.spectrum:participation_ratio",
            "embeddings",
            "centres",
            "spectral",
            0.0,
            "min(N - 1, D)",
            "(sum_k s_k^2)^2 / sum_k s_k^4",
            "bioRxiv 214262",
        ),
        "ne_sum": MonitorEntry(
            "ssl_norm.monitors.spectrum:ne_sum",
            "embeddings",
            "centres",
            "spectral",
            0.0,
            "min(N - 1, D)",
            "sum_k s_k^2 / s_1^2",
            "He & Ozay 2022",
        ),
        "alpha_req": MonitorEntry(
            "ssl_norm.monitors.spectrum:alpha_req",
            "embeddings",
            "centres",
            "spectral",
            nan,
            "0",
            "a of s_i^2 ~ i^-a, fitted over i = 10..99",
            "Agrawal et al. 2022",
        ),
        "cev_auc": MonitorEntry(
            "ssl_norm.monitors.spectrum:cev_auc",
            "embeddings",
            "both",
            "spectral",
            1.0,
            "about 1/2",
            "mean_k (sum_{i <= k} s_i / sum s)",
            "arXiv 2209.15007",
        ),
        "lidar": MonitorEntry(
            "ssl_norm.monitors.discriminant_rank:lidar",
            "views",
            "centres",
            "spectral",
            0.0,
            "min(n - 1, D)",
            "exp(entropy of the spectrum of W^(-1/2) B W^(-1/2)); B between, W within images",
            "arXiv 2312.04000",
        ),
    }
)
