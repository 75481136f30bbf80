"""Which implementation of the four passes serves a tensor."""

import functools
import os
import warnings
from typing import Protocol

import torch
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
    return _passes_on(x.device)


@functools.cache
def _passes_on(device: torch.device) -> Passes:
    """Return Triton's passes for a CUDA or ROCm device where they run, otherwise those of torch.

    Where `TRITON_INTERPRET` is set, Triton's passes serve the CPU as well, for tests and debugging.
    """
    interpreted = device.type == "cpu" and os.environ.get("TRITON_INTERPRET", "0") != "0"
    if device.type != "cuda" and not interpreted:
        return tiled
    try:
        from ssl_norm.norms.kernels import triton_kernels
    except ImportError:
        return tiled
    try:
        triton_kernels.instance_moments(torch.zeros(1, 1, 2, device=device))
    except Exception as error:  # an old GPU, no C compiler, no headers of Python: Triton has many
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        warnings.warn(
            f"norms on {device} run without Triton, correct but slower: {reason}", stacklevel=2
        )
        return tiled
    return triton_kernels
