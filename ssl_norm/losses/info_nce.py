"""The contrastive loss of MoCo: one positive key against a queue of older ones."""

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


@loss(low=0.0, high=inf, at_collapse=lambda N, _, K: cross_entropy_at_collapse(1 + K))
def info_nce(queries: Tensor, keys: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """Return the mean cross entropy of finding each query's key among that key and the queue.

    With unit rows q, k and queue rows u,

        loss = 1/N sum_i -log( exp(q_i.k_i / T) / (exp(q_i.k_i / T) + sum_j exp(q_i.u_j / T)) ).

    The queue must not hold `keys` yet (enqueue them after the loss), or each positive would be one
    of its own negatives. Gradients flow into all three arguments: stop those of keys and queue
    before the call.

    Args:
        queries: (N, D); rows of all three arguments are scaled to unit length in float32 or wider.
        keys: (N, D), row i of the same image as row i of `queries`.
        queue: (K >= 1, D) keys of earlier batches.
        temperature: T > 0.

    Returns:
        Scalar >= 0; ln(K + 1) at complete collapse, where every similarity is the same.

    Raises:
        ValueError: the shapes do not fit, or the temperature is not positive.

    Source: MoCo, arXiv 1911.05722, equation 1 and algorithm 1.
    """
    check_matching_rows(queries=queries, keys=keys)
    check_temperature(temperature)
    if queue.dim() != 2 or len(queue) == 0 or queue.shape[1] != queries.shape[1]:
        raise ValueError(
            f"queue must have shape (K >= 1, D = {queries.shape[1]}), got {tuple(queue.shape)}"
        )
    with full_precision(queries):
        q, k, u = unit_rows(queries, keys, queue)
        positive = (q * k).sum(dim=1, keepdim=True)  # (N, 1)
        logits = torch.cat([positive, q @ u.T], dim=1) / temperature  # (N, 1 + K)
        at_first_column = torch.zeros(len(q), dtype=torch.long, device=q.device)
        return F.cross_entropy(logits, at_first_column)
