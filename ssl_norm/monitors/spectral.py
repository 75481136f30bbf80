"""What the eigenvalues of recent embeddings measure, from two eigendecompositions."""

from typing import NamedTuple

import torch
from torch import Tensor

from ssl_norm.monitors.alignment_uniformity import uniformity_of_directions
from ssl_norm.monitors.correlation import off_diagonal_correlation
from ssl_norm.monitors.normalized import directions
from ssl_norm.monitors.rank import effective_rank_of_spectrum, rank_me
from ssl_norm.monitors.spectrum import (
    alpha_req_of_spectrum,
    cev_auc_of_spectrum,
    covariance_spectrum,
    ne_sum_of_spectrum,
    participation_ratio_of_spectrum,
)
from ssl_norm.monitors.spread import dead_share, std_per_dimension_of_directions

SPECTRAL_MONITORS = (
    "rank_me",
    "effective_rank",
    "participation_ratio",
    "ne_sum",
    "alpha_req",
    "cev_auc",
    "uniformity",
    "off_diagonal_correlation",
    "dead_dimensions",
)


class Spectral(NamedTuple):
    """Measurements of M directions (rows of length 1) of width D, on their device.

    Attributes:
        values: (9,), in the order of `SPECTRAL_MONITORS`.
        spectrum: (min(M, D),) eigenvalues of the covariance of the directions, descending.
        deviations: (D,) standard deviation of each dimension of the directions.
    """

    values: Tensor
    spectrum: Tensor
    deviations: Tensor


@torch.no_grad()
def measure_spectrum(embeddings: Tensor) -> Spectral:
    """Measure the directions of embeddings (M >= 2, D); about O(M D min(M, D) + M^2 D).

    A loss on cosines sees directions only, so lengths are left out before anything is measured.
    """
    z = directions(embeddings)
    spectrum = covariance_spectrum(z)
    deviations = std_per_dimension_of_directions(z)
    values = (
        rank_me(z),
        effective_rank_of_spectrum(spectrum),
        participation_ratio_of_spectrum(spectrum),
        ne_sum_of_spectrum(spectrum),
        alpha_req_of_spectrum(spectrum),
        cev_auc_of_spectrum(spectrum),
        uniformity_of_directions(z),
        off_diagonal_correlation(z),
        dead_share(deviations),
    )
    return Spectral(torch.stack(values), spectrum, deviations)
