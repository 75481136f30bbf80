"""Statistics of batch norms that are tried out and taken back."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def kept_statistics(model: nn.Module) -> Iterator[None]:
    """Give a model's statistics, and all its buffers, the values on exit that they had on entry.

    Args:
        model: its running statistics may be overwritten inside, not replaced by other tensors.

    Example:
        >>> norm = nn.BatchNorm1d(2)
        >>> with kept_statistics(norm):
        ...     y = norm(1 + torch.randn(8, 2))
        >>> norm.running_mean.tolist()
        [0.0, 0.0]
    """
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, values in before:
                buffer.copy_(values)
