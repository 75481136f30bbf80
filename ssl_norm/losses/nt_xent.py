"""The normalised temperature-scaled cross entropy of SimCLR."""

from math import inf

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_norm.losses.at_collapse import cross_entropy_at_collapse
from ssl_norm.losses.declare import loss
from ssl_norm.losses.rows import (
    check_matching_rows,
    check_temperature,
    full_precision,
    unit_rows,
)


@loss(low=0.0, high=inf, at_collapse=lambda N, _: cross_entropy_at_collapse(2 * N - 1))
def nt_xent(z1: Tensor, z2: Tensor, temperature: float) -> Tensor:
    """Return the mean cross entropy of finding each row's other view among all 2N - 1 other rows.

    With z the 2N unit rows of both views and j(i) the row of the other view of row i's image,

        loss = 1/(2N) sum_i -log( exp(z_i.z_j(i) / T) / sum_{k != i} exp(z_i.z_k / T) ).

    Only k = i is left out of the sum: the positive stays in it, and so do both views of every
    other image.

    Args:
        z1: (N, D) first views; rows are scaled to unit length in float32 or wider.
        z2: (N, D) second views, row i of the same image as row i of `z1`.
        temperature: T > 0.

    Returns:
        Scalar >= 0; ln(2N - 1) at complete collapse, where every similarity is the same.

    Raises:
        ValueError: the shapes differ or are not (N >= 2, D >= 1), or the temperature is not
            positive.

    Source: SimCLR, arXiv 2002.05709, equation 1 and algorithm 1.
    """
    check_matching_rows(z1=z1, z2=z2)
    check_temperature(temperature)
    N = len(z1)
    if N < 2:
        raise ValueError(
            f"z1 and z2 must have shape (N >= 2, D), got {tuple(z1.shape)}: "
            "a single image has no negatives"
        )
    with full_precision(z1):
        z = torch.cat(unit_rows(z1, z2))
        logits = z @ z.T / temperature  # (2N, 2N)
        itself = torch.eye(2 * N, dtype=torch.bool, device=z.device)
        other_view = torch.arange(2 * N, device=z.device).roll(N)
        return F.cross_entropy(logits.masked_fill(itself, -torch.inf), other_view)
