"""Weighted k-nearest neighbours."""

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_SIMILARITIES = 2**24  # computed at a time; 64 MB in float32


def knn_scores(
    bank: Tensor, bank_labels: Tensor, queries: Tensor, classes: int, k: int, temperature: float
) -> Tensor:
    """Return the votes for each query: its k most similar samples of the bank vote for their class.

        votes[i, c] = sum over neighbours j with label c of exp((s_ij - max_j s_ij) / temperature)

    with s the cosine similarity. Memory does not grow with the number of queries. The bank is
    (M, F) with labels (M,) in [0, K), queries are (N, F), and votes (N, K), with K = `classes`.
    All M vote if k >= 1 is larger. Lower temperatures, above 0, give more weight to the nearest.

    Source: Wu et al. 2018 (arXiv 1805.01978), section 3.4, with the weight exp(s / temperature). To
        subtract the maximum scales all votes of a query equally, and keeps them finite.
    """
    bank = F.normalize(bank, dim=1)
    k = min(k, len(bank))

    def votes(chunk: Tensor) -> Tensor:
        similarity, neighbours = (F.normalize(chunk, dim=1) @ bank.T).topk(k, dim=1)
        weights = ((similarity - similarity[:, :1]) / temperature).exp()
        return weights.new_zeros(len(chunk), classes).scatter_add_(
            1, bank_labels[neighbours], weights
        )

    size = max(1, MAX_SIMILARITIES // len(bank))
    return torch.cat([votes(queries[i : i + size]) for i in range(0, len(queries), size)])
