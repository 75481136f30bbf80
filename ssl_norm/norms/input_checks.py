"""What every norm asks of its input."""

from torch import Tensor


def check_channels(x: Tensor, num_features: int) -> None:
    """Raise ValueError unless x is (N, num_features, *spatial)."""
    if x.ndim < 2 or x.shape[1] != num_features:
        raise ValueError(
            f"expected an input of shape (N, {num_features}, *spatial), got {tuple(x.shape)}"
        )


def check_batch(x: Tensor) -> None:
    """Raise ValueError where a batch (N, C, *spatial) has a single value per channel, or none."""
    if x.numel() <= x.shape[1]:
        raise ValueError(
            "batch statistics need more than one value per channel in training, got an input "
            f"of shape {tuple(x.shape)}; use more samples, or a norm without batch statistics"
        )
