"""Which implementation of the four passes serves a tensor."""

from types import ModuleType

from torch import Tensor

from ssl_norm.norms.kernels import tiled


def passes_for(x: Tensor) -> ModuleType:
    """Return the module whose `instance_moments`, `affine_map`, ... take tensors like x."""
    return tiled
