"""Monitors of recent embeddings in a run, which share one eigenvalue decomposition."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ssl_norm.monitors.declare import Monitor, monitors_in_runs
from ssl_norm.monitors.normalized import directions, matching_directions
from ssl_norm.monitors.spectrum import covariance_spectrum
from ssl_norm.monitors.spread import std_of_directions

_EVERY_STEP = ("positive_cosine", "negative_cosine", "feature_std")  # by CollapseMonitor itself


class Spectral(NamedTuple):
    """Measurements of M directions (rows of length 1) of width D, on their device.

    Attributes:
        values: one for each of :func:`spectral_monitors`, in their order.
        spectrum: (min(M, D),) eigenvalues of the covariance of the directions, descending.
        deviations: (D,) standard deviation of each dimension of the directions.
    """

    values: Tensor
    spectrum: Tensor
    deviations: Tensor


def spectral_monitors() -> dict[str, Monitor]:
    """Return the monitors that runs measure when the spectrum is due, by name."""
    return {name: one for name, one in monitors_in_runs().items() if name not in _EVERY_STEP}


@torch.no_grad()
def measure_spectrum(
    embeddings: Tensor,
    pairs: Sequence[tuple[Tensor, Tensor]],
    monitors: Mapping[str, Monitor] | None = None,
) -> Spectral:
    """Measure the directions of embeddings (M >= 2, D); about O(M D min(M, D) + M^2 D).

    A loss on cosines sees directions only, so lengths are left out before anything is measured.

    Args:
        embeddings: (M, D), of monitors of one set of embeddings.
        pairs: (online, target) embeddings of one batch, over which monitors of pairs are averaged.
        monitors: by name; None: :func:`spectral_monitors`.
    """
    monitors = spectral_monitors() if monitors is None else monitors
    z = directions(embeddings)
    spectrum = covariance_spectrum(z)
    values = []
    for function in monitors.values():
        declared = function.declaration
        of_rows = declared.of_normalized or function
        if declared.inputs == "pair":
            value = torch.stack([of_rows(*matching_directions(*pair)) for pair in pairs]).mean()
        elif declared.of_spectrum is not None:
            value = declared.of_spectrum(spectrum)
        else:
            value = of_rows(z)
        values.append(value.to(z))
    return Spectral(torch.stack(values), spectrum, std_of_directions(z))
