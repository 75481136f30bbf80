"""Spread of the directions of embeddings."""

from math import sqrt

import torch
from torch import Tensor

from ssl_norm.monitors.declare import monitor
from ssl_norm.monitors.normalized import directions

_DEAD_BELOW = 0.05  # of an even spread's deviation


@monitor(
    prepares="normalizes",
    cost="linear",
    at_collapse=0.0,
    at_even="1",
    equation="sqrt(D) mean_d std_n(z[n, d])",
    source="arXiv 2011.10566",
    depends_on=("axes",),
    chart="feature std (1: even spread, 0: complete collapse)",
    label="feature std",
)
def feature_std(embeddings: Tensor) -> Tensor:
    """Return the standard deviation of l2-normalized features, relative to an even spread.

        sqrt(D) * mean_d std_n(z[n, d])

    z are the l2-normalized rows; std is the biased one (correction=0), so that 1 is never exceeded.

    Args:
        embeddings: (N, D), N >= 2.

    Returns:
        Scalar in [0, 1], in float64 where the device has it: 0 at complete collapse, about 1 for
        directions spread evenly over the sphere; NaN in, NaN out.

    Raises:
        ValueError: another shape.

    Source: Chen & He, arXiv 2011.10566 (SimSiam), times sqrt(D).

    Example:
        >>> import torch
        >>> even = torch.tensor([[3.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -5.0]])
        >>> round(feature_std(even).item(), 6)
        1.0
    """
    return std_of_directions(directions(embeddings)).mean()


def std_per_dimension(embeddings: Tensor) -> Tensor:
    """Return the standard deviation of each l2-normalized feature, relative to an even spread.

        sqrt(D) * std_n(z[n, d])

    z are the l2-normalized rows; std is the biased one (correction=0). The mean over dimensions is
    :func:`feature_std`.

    Args:
        embeddings: (N, D), N >= 2.

    Returns:
        (D,), each in [0, sqrt(D)], in float64 where the device has it: all 0 at complete collapse,
        all about 1 for directions spread evenly over the sphere; NaN in, NaN out.

    Raises:
        ValueError: another shape.

    Source: Chen & He, arXiv 2011.10566 (SimSiam), section 4.1, times sqrt(D), before its mean.
    """
    return std_of_directions(directions(embeddings))


def std_of_directions(z: Tensor) -> Tensor:
    """Return :func:`std_per_dimension`, (D,), of rows that are l2-normalized already."""
    # Two passes, as in z.std(0, correction=0), which is slower on a CPU.
    deviation = (z - z.mean(0)).square().mean(0).sqrt()
    return deviation * sqrt(z.shape[1])


def _dead_dimensions(z: Tensor, below: float = _DEAD_BELOW) -> Tensor:
    """Return :func:`dead_dimensions` of rows that are l2-normalized already."""
    deviations = std_of_directions(z)
    dead = (deviations < below).to(deviations.dtype)
    return dead.where(deviations.isfinite(), torch.nan).mean()


@monitor(
    prepares="normalizes",
    cost="linear",
    at_collapse=1.0,
    at_even="0",
    equation="mean_d [sqrt(D) std_n(z[n, d]) < 0.05]",
    source="own definition",
    depends_on=("axes",),
    chart="share of dead dimensions (1: complete collapse)",
    of_normalized=_dead_dimensions,
)
def dead_dimensions(embeddings: Tensor, below: float = _DEAD_BELOW) -> Tensor:
    """Return the share of dimensions that hardly vary over l2-normalized embeddings.

        mean_d [sqrt(D) std_n(z[n, d]) < below]

    A dimension is compared with an even spread, not with the others, so that all are dead at
    complete collapse.

    Args:
        embeddings: (N, D), N >= 2.
        below: share of an even spread's deviation; all dimensions have 0.05 at a mean cosine of
            1 - 0.05^2 = 0.9975, and it is 1/400 of an even share of the variance.

    Returns:
        Scalar in [0, 1], in float64 where the device has it: 1 at complete collapse, 0 at an even
        spread; NaN in, NaN out.

    Raises:
        ValueError: another shape.

    Source: own definition, based on SimSiam's std (arXiv 2011.10566, section 4.1); dead dimensions
    as a symptom: lucidrains/byol-pytorch issue 44.

    Example:
        >>> import torch
        >>> dead_dimensions(torch.tensor([[3.0, 0.0], [-1.0, 0.0]])).item()
        0.5
    """
    return _dead_dimensions(directions(embeddings), below)
