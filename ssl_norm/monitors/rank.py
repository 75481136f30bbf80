"""How many dimensions embeddings fill."""

import torch
from torch import Tensor

from ssl_norm.monitors.directions import wide_rows


def rank_me(embeddings: Tensor, eps: float = 1e-7) -> Tensor:
    """Return the effective rank of embeddings: the exponential of the entropy of their singular values.

        p_k = s_k / sum(s) + eps,   exp(-sum_k p_k log p_k)

    The embeddings are not centred: a common direction counts as one dimension, however large.

    Args:
        embeddings: (N, D), N >= 2; more rows than columns, or N bounds the value.
        eps: added to each share of the singular values.

    Returns:
        Scalar, about 1 to min(N, D), in float64 where the device has it: 1 at complete collapse;
        1 for embeddings that are all zero.

    Raises:
        ValueError: another shape.

    Source: Garrido et al., "RankMe", arXiv 2210.02885, equations 1 and 2.

    Example:
        >>> round(rank_me(torch.eye(8)).item(), 3)
        8.0
    """
    singular_values: Tensor = torch.linalg.svdvals(wide_rows(embeddings))
    total = singular_values.sum()
    if total == 0:
        return torch.ones_like(total)
    share = singular_values / total + eps
    return (-(share * share.log()).sum()).exp()
