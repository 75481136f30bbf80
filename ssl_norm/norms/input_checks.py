"""Checks of the input of norms."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch._C import _functorch


def check_channels(x: Tensor, num_features: int) -> None:
    """Raise an error unless x is a floating-point tensor (N, num_features, *spatial)."""
    if not x.is_floating_point():
        raise TypeError(
            f"expected an input of floating-point numbers, got {x.dtype}; call .float()"
        )
    if x.ndim < 2 or x.shape[1] != num_features:
        raise ValueError(
            f"expected an input of shape (N, {num_features}, *spatial), got {tuple(x.shape)}"
        )


def check_batch(
    x: Tensor, batch_size: int | None = None, domains: Sequence[int] | None = None
) -> None:
    """Raise ValueError if a batch, or the last chunk of a part, has one value per channel.

    The chunks are those of `batch_size` samples in each part of a batch x (N, C, *spatial);
    `domains` are the numbers of samples of parts. Samples that :func:`torch.func.vmap` gives one by
    one are refused as well.
    """
    if _is_vmapped(x):
        raise ValueError(
            "batch statistics mix the samples of a batch, so a single sample, as vmap passes it, "
            "has no gradient; call .eval() or use a norm without batch statistics"
        )
    parts = [len(x)] if domains is None else domains
    fewest = min((n and (n % (batch_size or n) or batch_size or n) for n in parts), default=0)
    if fewest * x.shape[2:].numel() > 1:
        return
    text = (
        "" if batch_size is None else f", whose last chunk of batch_size={batch_size} has {fewest}"
    )
    if domains is not None:
        text = f" with domains of {tuple(domains)} samples"
    raise ValueError(
        f"batch statistics need more than one value per channel{' and domain' * bool(domains)} in "
        f"training, got an input of shape {tuple(x.shape)}{text}; use more samples, or a norm "
        "without batch statistics"
    )


def _is_vmapped(x: Tensor) -> bool:
    """Return whether :func:`torch.func.vmap` maps over a hidden axis of a tensor."""
    if torch.compiler.is_compiling():
        return False
    while _functorch.is_functorch_wrapped_tensor(x):
        if _functorch.is_batchedtensor(x):
            return True
        x = _functorch.get_unwrapped(x)
    return False
