"""Preparation of the inputs of losses: checks of shapes, full precision, L2 normalization."""

from functools import reduce
from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor
from torch.nn import functional as F

Temperature = Annotated[float, Interval(ge=1e-6, le=1e6)]  # below, similarities overflow


def full_precision(z: Tensor) -> torch.autocast:
    """Return a context in which autocast does not reduce the precision on the device of `z`."""
    return torch.autocast(z.device.type, enabled=False)


def unit_rows(*embeddings: Tensor) -> tuple[Tensor, ...]:
    """L2-normalize the rows of each (N, D) tensor, and return all of them in one dtype.

    That dtype is the widest of the inputs, and at least float32. A row shorter than 1e-12 is
    divided by 1e-12.
    """
    dtype = reduce(torch.promote_types, (z.dtype for z in embeddings), torch.float32)
    return tuple(F.normalize(z.to(dtype), dim=1) for z in embeddings)


def check_matching_rows(**embeddings: Tensor) -> None:
    """Raise ValueError unless the two named embeddings have one shape (N >= 1, D >= 1)."""
    (first_name, first), (second_name, second) = embeddings.items()
    if first.dim() != 2 or first.shape != second.shape or first.numel() == 0:
        raise ValueError(
            f"{first_name} and {second_name} must have the same shape (N >= 1, D >= 1), "
            f"got {tuple(first.shape)} and {tuple(second.shape)}"
        )


def check_temperature(temperature: float) -> None:
    """Raise ValueError unless `temperature` is positive."""
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
