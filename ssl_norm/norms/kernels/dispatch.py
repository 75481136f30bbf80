"""Choice of the implementation of the four passes for a tensor."""

import functools
import os
import warnings
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ssl_norm.norms.kernels import native, tiled

# Name of each map in passes.cpp, and the number of its tables.
AFFINE, THRESHOLDED, GATED, BOUNDED = (
    native.Passes(*of) for of in (("Affine", 2), ("Thresholded", 3), ("Gated", 3), ("Bounded", 5))
)


def passes_for(x: Tensor, compiled: native.Passes = AFFINE) -> Any:
    """Return the object whose `instance_moments`, `pointwise_map`, ... take tensors like x.

    Only compiled passes exist for a map that is not affine; without them, return None.
    """
    passes = _passes_on(x.device)
    if passes is tiled and compiled.take(x):
        return compiled
    return passes if compiled is AFFINE else None


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
    # Triton raises errors of many types: old GPU, no C compiler, no headers of Python, ...
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        warnings.warn(
            f"norms on {device} run without Triton, correct but slower: {reason}", stacklevel=2
        )
        return tiled
    return triton_kernels
