"""How far the directions of embeddings spread."""

from math import sqrt

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

    Source: Chen & He, arXiv 2011.10566 (SimSiam), times sqrt(D).

    Example:
        >>> import torch
        >>> even = torch.tensor([[3.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -5.0]])
        >>> round(feature_std(even).item(), 6)
        1.0
    """
    return std_of_directions(directions(embeddings))


def std_of_directions(z: Tensor) -> Tensor:
    """Return :func:`feature_std` of rows that are l2-normalized already."""
    # Two passes, as z.std(0, correction=0) takes; torch's own is slower on a CPU.
    deviation = (z - z.mean(0)).square().mean(0).sqrt()
    return deviation.mean() * sqrt(z.shape[1])
