"""Checks of the input of norms."""

from torch import Tensor


def check_channels(x: Tensor, num_features: int) -> None:
    """Raise an error unless x is (N, num_features, *spatial), of floating-point numbers.

    Raises:
        ValueError: another shape.
        TypeError: integers, complex numbers or booleans.
    """
    if not x.is_floating_point():
        raise TypeError(
            f"expected an input of floating-point numbers, got {x.dtype}; call .float()"
        )
    if x.ndim < 2 or x.shape[1] != num_features:
        raise ValueError(
            f"expected an input of shape (N, {num_features}, *spatial), got {tuple(x.shape)}"
        )


def check_batch(x: Tensor, batch_size: int | None = None) -> None:
    """Raise ValueError if a batch (N, C, *spatial) or its last chunk has one value per channel."""
    values = x.shape[2:].numel()
    samples = len(x) if batch_size is None or len(x) == 0 else len(x) % batch_size or batch_size
    if samples * values > 1:
        return
    chunk = (
        "" if batch_size is None else f", whose last chunk of batch_size={batch_size} has {samples}"
    )
    raise ValueError(
        "batch statistics need more than one value per channel in training, got an input "
        f"of shape {tuple(x.shape)}{chunk}; use more samples, or a norm without batch statistics"
    )
