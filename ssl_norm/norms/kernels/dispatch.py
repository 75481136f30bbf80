"""Which implementation of the four passes serves a tensor."""

from typing import Protocol

from torch import Tensor

from ssl_norm.norms.kernels import tiled


class Passes(Protocol):
    """The four passes over memory; :mod:`ssl_norm.norms.kernels.tiled` says what each returns."""

    def instance_moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and biased variance over space."""
        ...

    def affine_map(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """Return scale * x + shift."""
        ...

    def affine_map_gradients(self, dy: Tensor, x: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sums over space of dy * x and of dy."""
        ...

    def input_gradient(
        self,
        dy: Tensor,
        scale: Tensor,
        x: Tensor,
        mean: Tensor,
        d_mean: Tensor,
        d_variance: Tensor,
    ) -> Tensor:
        """Return scale * dy + (d_mean + 2 (x - mean) d_variance) / positions."""
        ...


def passes_for(x: Tensor) -> Passes:
    """Return the module whose `instance_moments`, `affine_map`, ... take tensors like x."""
    return tiled
