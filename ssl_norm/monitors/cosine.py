"""Cosine similarity of matching and of other embeddings, in time linear in the batch."""

from torch import Tensor

from ssl_norm.monitors.declare import monitor
from ssl_norm.monitors.normalized import matching_directions

_CHART = "both cosines (1 and 1: complete collapse)"


def positive_negative_cosine(online: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean cosine of matching rows and the mean cosine of all other pairs of rows.

        positive = mean_i z_i . z'_i        negative = mean_{i != j} z_i . z'_j

    z and z' are the l2-normalized rows. The negative cosine is exact and takes O(N D), because
    sum_{i,j} z_i . z'_j = (sum_i z_i) . (sum_j z'_j).

    Args:
        online: (N, D) embeddings, N >= 2.
        target: (N, D) embeddings; row i stems from another view of image i.

    Returns:
        Two scalars in [-1, 1], in float64 where the device has it. At complete collapse, all rows
        equal, both are 1. A row of zeros has no direction and counts as 0, as in torch. NaN in,
        NaN out.

    Raises:
        ValueError: the shapes differ, or are not (N >= 2, D).

    Source: https://imbue.com/research/2020-08-24-understanding-self-supervised-contrastive-learning
    (its step_pos_cos and step_neg_cos).

    Example:
        >>> import torch
        >>> online = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
        >>> positive, negative = positive_negative_cosine(online, 3 * online)
        >>> positive.item(), negative.item()
        (1.0, 0.0)
    """
    return cosines_of_directions(*matching_directions(online, target))


def cosines_of_directions(z: Tensor, z_target: Tensor) -> tuple[Tensor, Tensor]:
    """Return :func:`positive_negative_cosine` of rows that are l2-normalized already."""
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
