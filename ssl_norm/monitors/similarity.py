"""Similarity of L2-normalized embeddings: cosines, alignment and uniformity."""

from math import log

import torch
from torch import Tensor

from ssl_norm.monitors.declare import monitor
from ssl_norm.monitors.normalized import directions, matching_directions

_CHART = "both cosines (1 and 1: complete collapse)"


def positive_negative_cosine(online: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean cosine of matching rows and the mean cosine of all other pairs of rows.

        positive = mean_i z_i . z'_i        negative = mean_{i != j} z_i . z'_j

    z and z' are the l2-normalized rows. The negative cosine is exact and takes O(N D), because
    sum_{i,j} z_i . z'_j = (sum_i z_i) . (sum_j z'_j).

    Args:
        online: (N >= 2, D) embeddings.
        target: (N, D) embeddings; row i comes from another view of image i.

    Returns:
        Two scalars in [-1, 1], both 1 at complete collapse. A row of zeros counts as 0.

    Source: https://imbue.com/research/2020-08-24-understanding-self-supervised-contrastive-learning
    (its step_pos_cos and step_neg_cos).
    """
    return cosines_of_directions(*matching_directions(online, target))


def cosines_of_directions(z: Tensor, z_target: Tensor) -> tuple[Tensor, Tensor]:
    """Return :func:`positive_negative_cosine` of rows that are already l2-normalized."""
    count = z.shape[0]
    matching = (z * z_target).sum()
    all_pairs = z.sum(0) @ z_target.sum(0)
    return matching / count, (all_pairs - matching) / (count * (count - 1))


@monitor(
    inputs="pair",
    prepares="normalizes",
    cost="linear",
    at_collapse=1.0,
    at_even="any: 1 if views agree",
    equation="mean_i z_i . z'_i",
    source="imbue-ai/self_supervised",
    chart=_CHART,
    label="positive cosine",
)
def positive_cosine(online: Tensor, target: Tensor) -> Tensor:
    """Return the first value of :func:`positive_negative_cosine`, 1 at complete collapse."""
    return positive_negative_cosine(online, target)[0]


@monitor(
    inputs="pair",
    prepares="normalizes",
    cost="linear",
    at_collapse=1.0,
    at_even="about 0",
    equation="mean_{i != j} z_i . z'_j",
    source="imbue-ai/self_supervised",
    chart=_CHART,
    label="negative cosine",
)
def negative_cosine(online: Tensor, target: Tensor) -> Tensor:
    """Return the second value of :func:`positive_negative_cosine`, 1 at complete collapse."""
    return positive_negative_cosine(online, target)[1]


COSINES_AT_ONCE = 2**22  # of pairs of rows; 32 MiB in float64
_ROWS_AT_ONCE = 256  # upper bound: pairs within a chunk of rows are computed twice


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
def alignment(online: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared distance, in [0, 4], of matching L2-normalized rows (N >= 2, D).

    It is also 0 for views that agree perfectly, so read it with :func:`uniformity`.

    Source: Wang & Isola, arXiv 2005.10242, section 4.1.1, with alpha = 2.
    """
    z, z_target = matching_directions(online, target)
    distance: Tensor = torch.linalg.vector_norm(z - z_target, dim=1)
    return distance.square().mean()


def _uniformity(z: Tensor) -> Tensor:
    count = len(z)
    at_once = min(_ROWS_AT_ONCE, max(1, COSINES_AT_ONCE // count))
    sums = [_log_sum(z, start, start + at_once) for start in range(0, count, at_once)]
    return torch.stack(sums).logsumexp(0) - log(count * (count - 1) / 2)


def _log_sum(z: Tensor, start: int, stop: int) -> Tensor:
    """Return the log of the summed potentials of the pairs i < j with start <= i < stop."""
    chunk, later = z[start:stop], z[start:]
    lengths = later.square().sum(1)  # 1, or 0 for rows of zeros
    products = (chunk @ later.T).mul_(2)
    potentials = products.sub_(lengths).sub_(lengths[: len(chunk), None]).mul_(2).clamp_(max=0)
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
def uniformity(embeddings: Tensor) -> Tensor:
    """Return the logarithm of the mean Gaussian potential of all pairs of L2-normalized rows.

    For embeddings (N >= 2, D) it takes O(N^2 D) time, and memory for 4 million pairs at a time. If
    there are many rows, measure a sample of them. The value is in [-8, 0].

    Source: Wang & Isola, arXiv 2005.10242, section 4.1.2, with t = 2.
    """
    return _uniformity(directions(embeddings))
