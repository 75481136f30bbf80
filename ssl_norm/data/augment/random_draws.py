"""Draws for many images at once, on the CPU, so that a seed means the same on every device."""

import torch
from torch import Generator, Tensor


def sample_events(n: int, probability: float, generator: Generator) -> Tensor:
    """Return (n,) booleans, each true with the given probability; 0 is never and 1 always."""
    return torch.rand(n, generator=generator) < probability


def sample_uniform(n: int, low: float, high: float, generator: Generator) -> Tensor:
    """Return (n,) numbers drawn uniformly from [low, high]."""
    return torch.rand(n, generator=generator) * (high - low) + low
