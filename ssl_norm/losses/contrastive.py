"""Contrastive losses of SimCLR and MoCo, their accuracy, and their value at collapse."""

from math import inf, log

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_norm.losses.declare import loss
from ssl_norm.losses.rows import check_matching_rows, check_temperature, full_precision, unit_rows


def cross_entropy_at_collapse(candidates: int) -> float:
    """Return ln(candidates), the cross entropy of a softmax over equal similarities.

    A model whose contrastive loss stays at this value, at any temperature, has learned nothing. The
    candidates are those among which the softmax chooses: 2 N - 1 in SimCLR, or 2 N if an
    implementation compares each row also with itself; 1 + K with a queue of K keys; the number of
    prototypes in SwAV. N counts the images of all processes if embeddings are gathered.
    """
    return log(candidates)


@loss(low=0.0, high=inf, at_collapse=lambda N, _: cross_entropy_at_collapse(2 * N - 1))
def nt_xent(z1: Tensor, z2: Tensor, temperature: float) -> Tensor:
    """Return the mean cross entropy of finding each row's other view among all 2N - 1 other rows.

    With z the 2N unit rows of both views and j(i) the row of the other view of row i's image,

        loss = 1/(2N) sum_i -log( exp(z_i.z_j(i) / T) / sum_{k != i} exp(z_i.z_k / T) ).

    The sum omits only k = i: it includes the positive and both views of every other image. Rows i
    of both views (N >= 2, D) are of the same image, and L2-normalized in float32 or wider; T > 0 is
    the temperature.

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


@loss(low=0.0, high=inf, at_collapse=lambda N, _, K: cross_entropy_at_collapse(1 + K))
def info_nce(queries: Tensor, keys: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """Return the mean cross entropy of finding each query's key among that key and the queue.

    With unit rows q, k and queue rows u,

        loss = 1/N sum_i -log( exp(q_i.k_i / T) / (exp(q_i.k_i / T) + sum_j exp(q_i.u_j / T)) ).

    Rows i of queries and keys (N, D) are of the same image; the queue (K >= 1, D) has keys of
    earlier batches; all are L2-normalized in float32 or wider. Enqueue `keys` after the loss, or
    each positive would also be one of the negatives. Gradients flow into all three arguments;
    detach keys and queue before the call.

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


@torch.no_grad()
def info_nce_accuracy(queries: Tensor, keys: Tensor, queue: Tensor) -> Tensor:
    """Return the share of queries that are nearer to their key than to every row of the queue.

    The arguments are those of :func:`info_nce`. Ties within rounding errors do not count, so that
    constant embeddings have a share of 0; by chance it is 1 / (K + 1).

    Source: the contrastive task of MoCo, arXiv 1911.05722, equation 1.
    """
    check_matching_rows(queries=queries, keys=keys)
    with full_precision(queries):
        q, k, u = unit_rows(queries, keys, queue)
        positive = (q * k).sum(dim=1)
        return _share_above(positive, (q @ u.T).amax(dim=1))


@torch.no_grad()
def nt_xent_accuracy(z1: Tensor, z2: Tensor) -> Tensor:
    """Return the share of views that are nearer to their image's other view than to all other rows.

    The arguments are those of :func:`nt_xent`. Ties do not count, as in :func:`info_nce_accuracy`;
    by chance the share is 1 / (2N - 1).

    Source: the contrastive task of SimCLR, arXiv 2002.05709, equation 1.
    """
    check_matching_rows(z1=z1, z2=z2)
    with full_precision(z1):
        z = torch.cat(unit_rows(z1, z2))
        similarity = (z @ z.T).fill_diagonal_(-torch.inf)
        other_view = torch.arange(len(z), device=z.device).roll(len(z1))[:, None]
        positive = similarity.gather(1, other_view)
        negatives = similarity.scatter(1, other_view, -torch.inf)
        return _share_above(positive[:, 0], negatives.amax(dim=1))


def _share_above(positive: Tensor, negative: Tensor) -> Tensor:
    return (positive - negative > 32 * torch.finfo(positive.dtype).eps).to(positive.dtype).mean()
