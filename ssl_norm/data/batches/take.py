"""Fast selection of rows of a large uint8 tensor."""

import numpy as np
import torch
from torch import Tensor


def gather(pixels: Tensor, rows: Tensor, out: Tensor | None = None) -> Tensor:
    """Return `pixels[rows]`.

    On a CPU this is one thread's memory copy, by NumPy: it runs without the GIL, so that threads
    can prefetch, and without OpenMP, whose start costs more than the copy of a small batch.

    Args:
        pixels: (M, H, W, 3) uint8.
        rows: (B,) int64 in [0, M), on the device of `pixels`.
        out: (B, H, W, 3) uint8 to write into, for example pinned memory; CPU only.

    Returns:
        (B, H, W, 3) uint8, contiguous.
    """
    if pixels.device.type != "cpu":
        return pixels.index_select(0, rows)
    if out is None:
        out = torch.empty((len(rows), *pixels.shape[1:]), dtype=pixels.dtype)
    # `clip` writes straight into `out`, where `raise` would go through a buffer.
    np.take(pixels.numpy(), rows.numpy(), axis=0, out=out.numpy(), mode="clip")
    return out
