"""Monitors of recent embeddings in a run, which share one eigenvalue decomposition."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ssl_norm.monitors import MONITORS
from ssl_norm.monitors.declare import Monitor, load_monitors, monitors_in_runs
from ssl_norm.monitors.normalized import directions, matching_directions
from ssl_norm.monitors.spectrum import covariance_spectrum
from ssl_norm.monitors.spread import std_of_directions

_EVERY_STEP = ("positive_cosine", "negative_cosine", "feature_std")  # by CollapseMonitor itself


class Spectral(NamedTuple):
    """Measurements of M L2-normalized embeddings of width D, on their device."""

    names: tuple[str, ...]  # of the monitors
    values: Tensor  # of these monitors
    spectrum: Tensor  # (min(M, D),) eigenvalues of the covariance, descending
    deviations: Tensor  # (D,) standard deviation of each dimension


def spectral_monitors() -> dict[str, Monitor]:
    """Return the monitors that runs measure when the spectrum is due, by name."""
    return {name: one for name, one in monitors_in_runs().items() if name not in _EVERY_STEP}


def token_monitors() -> dict[str, Monitor]:
    """Return the monitors of tokens (N, T, D), by name."""
    return {
        name: one for name, one in load_monitors().items() if one.declaration.inputs == "tokens"
    }


@torch.no_grad()
def measure_spectrum(
    embeddings: Tensor,
    pairs: Sequence[tuple[Tensor, Tensor]],
    monitors: Mapping[str, Monitor],
    tokens: Tensor | None = None,
) -> Spectral:
    """L2-normalize embeddings (M >= 2, D) and measure them; about O(M D min(M, D) + M^2 D).

    Lengths are removed because a loss on cosines does not depend on them. Monitors of pairs are
    averaged over the pairs (online, target) of one batch; those of tokens take tokens (N, T, D).
    """
    z = directions(embeddings)
    spectrum = covariance_spectrum(z)
    values = []
    for name, function in monitors.items():
        declared = function.declaration
        of_rows = declared.of_normalized or function
        with MONITORS.blaming(name, function):
            if declared.inputs == "pair":
                value = torch.stack([of_rows(*matching_directions(*pair)) for pair in pairs]).mean()
            elif declared.inputs == "tokens":
                value = function(tokens) if tokens is not None else z.new_full((), torch.nan)
            elif declared.of_spectrum is not None:
                value = declared.of_spectrum(spectrum)
            else:
                value = of_rows(z)
            values.append(value.to(z))
    return Spectral(tuple(monitors), torch.stack(values), spectrum, std_of_directions(z))


class RecentRows:
    """Ring buffer of the last `size` >= 2 rows that were added; it never waits for the device."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._ring: Tensor | None = None
        self._added = 0

    def add(self, rows: Tensor) -> Tensor:
        """Replace the oldest rows by `rows` (N, D), and return all kept rows, (M <= size, D).

        A change of width or dtype empties the buffer first. The oldest row may be at any position.
        """
        rows = rows.detach()[-self.size :]
        ring = self._ring
        if ring is None or (ring.shape[1], ring.dtype) != (rows.shape[1], rows.dtype):
            ring, self._added = rows.new_zeros(self.size, rows.shape[1]), 0
        self._ring = ring = ring.to(rows.device)
        place = self._added % self.size
        fitting = min(len(rows), self.size - place)
        ring[place : place + fitting] = rows[:fitting]
        ring[: len(rows) - fitting] = rows[fitting:]
        self._added += len(rows)
        return ring[: min(self._added, self.size)]

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a run needs to resume exactly: a tensor and a number."""
        return {"ring": None if self._ring is None else self._ring.clone(), "added": self._added}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from the result of `state_dict`; rows of another size are dropped."""
        ring = state["ring"]
        fits = ring is not None and len(ring) == self.size
        self._ring, self._added = (ring.clone(), state["added"]) if fits else (None, 0)
