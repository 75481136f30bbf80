"""Alignment of matching directions, and uniformity of all directions on the sphere."""

from math import log

import torch
from torch import Tensor

from ssl_norm.monitors.declare import monitor
from ssl_norm.monitors.normalized import directions, matching_directions

COSINES_AT_ONCE = 2**22  # of pairs of rows; 32 MiB in float64
_ROWS_AT_ONCE = 256  # at most: pairs within a chunk of rows are computed twice


@monitor(
    inputs="pair",
    prepares="normalizes",
    cost="linear",
    at_collapse=0.0,
    at_even="any: 0 if views agree",
    equation="mean_i |z_i - z'_i|^2",
    source="arXiv 2005.10242",
    in_runs=False,
)
def alignment(online: Tensor, target: Tensor, alpha: float = 2.0) -> Tensor:
    """Return the mean distance of matching directions, to a power.

        mean_i |z_i - z'_i|^alpha

    z and z' are the l2-normalized rows, not centred. Cost O(N D).

    Args:
        online: (N, D) embeddings, N >= 2.
        target: (N, D) embeddings; row i stems from another view of image i.
        alpha: power of the Euclidean distance, above 0; with 2 it is 2 - 2 cos.

    Returns:
        Scalar in [0, 2^alpha], in float64 where the device has it: 0 at complete collapse, but also
        for views that agree perfectly, so read it with :func:`uniformity`; NaN in, NaN out.

    Raises:
        ValueError: the shapes differ, or are not (N >= 2, D), or alpha is not positive.

    Source: Wang & Isola, arXiv 2005.10242, section 4.1.1.
    """
    if not alpha > 0:
        raise ValueError(f"alpha must be positive, got {alpha}")
    z, z_target = matching_directions(online, target)
    distance: Tensor = torch.linalg.vector_norm(z - z_target, dim=1)
    return distance.pow(alpha).mean()


def _uniformity(z: Tensor, t: float = 2.0) -> Tensor:
    """Return :func:`uniformity` of rows that are l2-normalized already."""
    if not t > 0:
        raise ValueError(f"t must be positive, got {t}")
    count = len(z)
    at_once = min(_ROWS_AT_ONCE, max(1, COSINES_AT_ONCE // count))
    sums = [_log_sum(z, start, start + at_once, t) for start in range(0, count, at_once)]
    return torch.stack(sums).logsumexp(0) - log(count * (count - 1) / 2)


def _log_sum(z: Tensor, start: int, stop: int, t: float) -> Tensor:
    """Return the log of the summed potentials of the pairs i < j with start <= i < stop."""
    chunk, later = z[start:stop], z[start:]
    lengths = later.square().sum(1)  # 1, or 0 for rows of zeros
    products = (chunk @ later.T).mul_(2)
    potentials = products.sub_(lengths).sub_(lengths[: len(chunk), None]).mul_(t).clamp_(max=0)
    own = potentials[:, : len(chunk)]
    own.masked_fill_(torch.ones_like(own, dtype=torch.bool).tril(), -torch.inf)
    return potentials.flatten().logsumexp(0)


@monitor(
    prepares="normalizes",
    cost="quadratic",
    at_collapse=0.0,
    at_even="about -4",
    equation="log mean_{i < j} exp(-2 |z_i - z_j|^2)",
    source="arXiv 2005.10242",
    chart="uniformity (0: complete collapse)",
    of_normalized=_uniformity,
)
def uniformity(embeddings: Tensor, t: float = 2.0) -> Tensor:
    """Return the logarithm of the mean Gaussian potential of all pairs of directions.

        log mean_{i < j} exp(-t |z_i - z_j|^2)

    z are the l2-normalized rows, not centred. Cost O(N^2 D) time, and memory for 4 million pairs at
    a time: of many rows, measure a sample.

    Args:
        embeddings: (N, D), N >= 2.
        t: inverse width of the potential, above 0.

    Returns:
        Scalar in [-4 t, 0], in float64 where the device has it: 0 at complete collapse, about -2 t
        for many directions spread evenly over the sphere of many dimensions; NaN in, NaN out.

    Raises:
        ValueError: another shape, or t is not positive.

    Source: Wang & Isola, arXiv 2005.10242, section 4.1.2.

    Example:
        >>> round(uniformity(torch.eye(8)).item(), 6)
        -4.0
    """
    return _uniformity(directions(embeddings), t)
