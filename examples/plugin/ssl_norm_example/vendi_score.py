"""The Vendi score: an effective number of distinct embeddings."""

import torch
from torch import Tensor

from ssl_norm.monitors.declare import monitor
from ssl_norm.monitors.normalized import directions
from ssl_norm.monitors.spectrum import RANKS, second_moment_spectrum


@monitor(
    inputs="embeddings",
    prepares="normalizes",
    cost="spectral",
    at_collapse=1.0,
    at_even="min(N, D)",
    equation="exp(entropy of s^2 / N)",
    source="arXiv 2210.02410",
    chart=RANKS,
    label="Vendi score",
    decimals=1,
)
def vendi_score(embeddings: Tensor) -> Tensor:
    """Return the exponential of the entropy of the eigenvalues of the similarity matrix K / N.

    K_ij = cos(z_i, z_j). For L2-normalized rows z, the matrix z' z / N has the same eigenvalues
    except zeros.

    Args:
        embeddings: (N, D), N >= 2.

    Returns:
        Scalar in [1, min(N, D)]: 1 at complete collapse, min(N, D) if embeddings are spread evenly,
        1 if all are zero, and NaN if one is NaN.

    Raises:
        ValueError: another shape.

    Source: Friedman & Dieng, arXiv 2210.02410, definition 3.1 with cosine similarity.
    """
    eigenvalues = second_moment_spectrum(directions(embeddings))
    total = eigenvalues.sum()
    shares = eigenvalues / total.where(total != 0, 1.0)
    return torch.xlogy(shares, shares).sum().neg().exp()
