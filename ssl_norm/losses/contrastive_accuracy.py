"""Contrastive accuracy: top-1 of the positive among its candidates."""

import torch
from torch import Tensor

from ssl_norm.losses.rows import check_matching_rows, full_precision, unit_rows


@torch.no_grad()
def info_nce_accuracy(queries: Tensor, keys: Tensor, queue: Tensor) -> Tensor:
    """Return the share of queries that are nearer to their key than to every row of the queue.

    A tie, to within rounding, does not count, so that constant embeddings solve nothing.

    Args:
        queries: (N, D).
        keys: (N, D), row i of the same image as row i of `queries`.
        queue: (K, D) keys of earlier batches.

    Returns:
        Scalar in [0, 1]; 1 / (K + 1) by chance, 0 at complete collapse.

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

    A tie, to within rounding, does not count, so that constant embeddings solve nothing.

    Args:
        z1: (N >= 2, D) first views.
        z2: (N, D) second views, row i of the same image as row i of `z1`.

    Returns:
        Scalar in [0, 1]; 1 / (2N - 1) by chance, 0 at complete collapse.

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
    """Return the share of positive cosines (N,) above the negative ones by more than rounding."""
    return (positive - negative > 32 * torch.finfo(positive.dtype).eps).to(positive.dtype).mean()
