"""How far the directions of embeddings spread."""

from torch import Tensor

from ssl_norm.monitors.directions import directions


def feature_std(embeddings: Tensor) -> Tensor:
    """Return the standard deviation of l2-normalized features, relative to an even spread.

        sqrt(D) * mean_d std_n(z[n, d])

    z are the l2-normalized rows; std is the biased one (correction=0), so that 1 is never exceeded.

    Args:
        embeddings: (N, D), N >= 2.

    Returns:
        Scalar in [0, 1], in float64 where the device has it: 0 at complete collapse, about 1 for
        directions spread evenly over the sphere.

    Raises:
        ValueError: another shape.

    Source: Chen & He, arXiv 2011.10566, section 4.1 (SimSiam), where even spread is 1 / sqrt(D).

    Example:
        >>> import torch
        >>> feature_std(torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])).item()
        0.0
    """
    return std_of_directions(directions(embeddings))


def std_of_directions(z: Tensor) -> Tensor:
    """Return :func:`feature_std` of rows that are l2-normalized already."""
    return z.std(0, correction=0).mean() * z.shape[1] ** 0.5
