"""L2-normalization of embeddings in wide precision."""

import torch
from torch import Tensor
from torch.nn import functional as F


def directions(embeddings: Tensor, name: str = "embeddings") -> Tensor:
    """Return L2-normalized rows in float64, or in float32 on a device without float64 (mps).

    Near collapse cosines differ from 1 by 1e-6 and less, which float32 does not resolve. A row of
    zeros stays zero. Another shape than (N >= 2, D) is a ValueError with the `name`.
    """
    rows = wide_rows(embeddings, name)
    return F.normalize(rows, dim=1, eps=torch.finfo(rows.dtype).tiny)


def matching_directions(online: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the :func:`directions` of two embeddings of one shape, which match row by row."""
    z, z_target = directions(online, "online"), directions(target, "target")
    if z.shape != z_target.shape:
        raise ValueError(
            f"online and target must have the same shape, got {tuple(z.shape)} and "
            f"{tuple(z_target.shape)}"
        )
    return z, z_target


def wide_rows(embeddings: Tensor, name: str = "embeddings") -> Tensor:
    """Return (N >= 2, D) in float64, or in float32 on a device that has no float64 (mps)."""
    if embeddings.ndim != 2 or embeddings.shape[0] < 2 or embeddings.shape[1] == 0:
        raise ValueError(f"{name} must have shape (N >= 2, D), got {tuple(embeddings.shape)}")
    return embeddings.to(torch.float32 if embeddings.device.type == "mps" else torch.float64)
