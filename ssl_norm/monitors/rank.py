"""Effective ranks of embeddings."""

import torch
from torch import Tensor

from ssl_norm.monitors.declare import monitor
from ssl_norm.monitors.spectrum import RANKS, covariance_spectrum, second_moment_spectrum


@monitor(
    prepares="nothing",
    cost="spectral",
    at_collapse=1.0,
    at_even="min(N, D)",
    equation="exp(entropy of s / sum s + 1e-7)",
    source="arXiv 2210.02885",
    chart=RANKS,
    label="RankMe",
    decimals=1,
)
def rank_me(embeddings: Tensor, eps: float = 1e-7) -> Tensor:
    """Return RankMe, the exponential of the entropy of the singular values of embeddings.

        p_k = s_k / sum(s) + eps,   exp(-sum_k p_k log p_k)

    Neither centred nor normalized: a common direction counts as one dimension, however large, so
    that embeddings near collapse have about 1. (:func:`effective_rank` is centred, and may be near
    D for them: their remaining differences may be round.) A high value is no proof of health: read
    it with :func:`ssl_norm.monitors.feature_std`.

    Args:
        embeddings: (N, D), N >= 2; more rows than columns, or N bounds the value.
        eps: added to each share of the singular values; raises the value by the factor
            1 + 1.6e-6 min(N, D).

    Returns:
        Scalar, about 1 to min(N, D), in float64 where the device has it: 1 at complete collapse,
        min(N, D) at an even spread; 1 for embeddings that are all zero; NaN in, NaN out. Singular
        values below about 1.5e-8 sqrt(min(N, D)) of the largest one count as 0.

    Raises:
        ValueError: another shape.

    Source: Garrido et al., "RankMe", arXiv 2210.02885, equations 1 and 2.

    Example:
        >>> round(rank_me(torch.eye(8)).item(), 3)
        8.0
    """
    eigenvalues = second_moment_spectrum(embeddings)
    share = _singular_shares(eigenvalues) + eps
    rank = (-(share * share.log()).sum()).exp()
    return rank.where(eigenvalues[0] != 0, 1.0)


def _effective_rank(eigenvalues: Tensor) -> Tensor:
    """Return :func:`effective_rank` of the eigenvalues of a covariance."""
    share = _singular_shares(eigenvalues)
    rank = torch.xlogy(share, share).sum().neg().exp()
    return rank.where(eigenvalues[0] != 0, 0.0)


@monitor(
    prepares="centres",
    cost="spectral",
    at_collapse=0.0,
    at_even="min(N - 1, D)",
    equation="exp(entropy of s / sum s)",
    source="Roy & Vetterli 2007",
    chart=RANKS,
    label="effective rank",
    decimals=1,
    of_spectrum=_effective_rank,
)
def effective_rank(embeddings: Tensor) -> Tensor:
    """Return the effective rank of centred embeddings.

        p_k = s_k / sum(s),   exp(-sum_k p_k log p_k)

    with s the singular values of the embeddings less their mean; not normalized. Near-constant
    embeddings may have a high effective rank, that of their remaining differences: read it with
    :func:`ssl_norm.monitors.feature_std`, or use :func:`rank_me`, which is not centred.

    Args:
        embeddings: (N, D), N >= 2; more rows than columns, or N - 1 bounds the value.

    Returns:
        Scalar: 0 at complete collapse (0/0, by definition), else 1 to min(N - 1, D), reached at an
        even spread; NaN in, NaN out. Singular values below about 1.5e-8 sqrt(min(N, D)) of the
        largest one count as 0.

    Raises:
        ValueError: another shape.

    Source: Roy & Vetterli, "The effective rank", EUSIPCO 2007, which leaves centring to the user.
    """
    return _effective_rank(covariance_spectrum(embeddings))


def _singular_shares(eigenvalues: Tensor) -> Tensor:
    """Return each singular value's share of their sum, from its square; zeros if all are 0."""
    singular_values = eigenvalues.sqrt()
    total = singular_values.sum()
    return singular_values / total.where(total != 0, 1.0)
