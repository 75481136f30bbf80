"""Protocol of a transform of a random view, and its random draws."""

from typing import Any, NamedTuple, Protocol

import torch
from torch import Generator, Tensor

Params = dict[str, Any]


class Share(NamedTuple):
    """The images of the global batch that this rank augments."""

    total: int  # over all ranks
    rows: slice  # of this rank among them
    height: int  # size before any crop, in pixels
    width: int


class Transform(Protocol):
    """One operation of a view; its parameters are drawn on the CPU before it is applied."""

    def draw(self, share: Share, generator: Generator) -> Params:
        """Return the parameters of this rank's images, tensors on the CPU.

        It always draws for the global batch, so that the generator has the same state on every rank
        and several ranks see the same views as one process.
        """

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """Return the changed images, (N, 3, S, S) in [0, 1]; may overwrite its input."""


def sample_events(n: int, probability: float, generator: Generator) -> Tensor:
    """Return (n,) booleans, each true with the given probability (0: never, 1: always)."""
    return torch.rand(n, generator=generator) < probability


def sample_uniform(n: int, low: float, high: float, generator: Generator) -> Tensor:
    """Return (n,) numbers drawn uniformly from [low, high]."""
    return torch.rand(n, generator=generator) * (high - low) + low
