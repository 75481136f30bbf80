"""Choice of the implementation of the four passes for a tensor."""

import functools
import os
import warnings
from types import ModuleType

import torch
from torch import Tensor

from ssl_norm.norms.kernels import native, tiled


def passes_for(x: Tensor) -> ModuleType:
    """Return the module whose `instance_moments`, `affine_map`, ... take tensors like x."""
    passes = _passes_on(x.device)
    return native if passes is tiled and native.takes(x) else passes


@functools.cache
def _passes_on(device: torch.device) -> ModuleType:
    """Return Triton's passes for a CUDA or ROCm device if they run there, else those of torch.

    With `TRITON_INTERPRET` set, a CPU gets Triton's passes as well, for tests and debugging.
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
    except (
        Exception
    ) as error:  # Triton raises many types: an old GPU, no C compiler, no Python headers
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        warnings.warn(
            f"norms on {device} run without Triton, correct but slower: {reason}", stacklevel=2
        )
        return tiled
    return triton_kernels
