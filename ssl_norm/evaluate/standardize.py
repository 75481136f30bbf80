"""Features with zero mean and unit deviation."""

import torch
from torch import Tensor


def standardize(train: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """Return features less the mean and over the standard deviation of the training features.

    Statistics are computed in float64 with correction=0. A feature that varies by no more than its
    dtype's rounding counts as constant and is only centred.

    Args:
        train: (N, F).
        others: (M, F) each.

    Returns:
        The training features and the others, in the same order and dtype.
    """
    variance, mean = torch.var_mean(train.double(), dim=0, correction=0)
    std = variance.sqrt()
    rounding = torch.finfo(train.dtype).eps * mean.abs()
    scale = torch.where(std > rounding, std, 1.0)
    mean, scale = mean.to(train.dtype), scale.to(train.dtype)
    return tuple((features - mean) / scale for features in (train, *others))
