"""Effective ranks of embeddings."""

import torch
from torch import Tensor

from ssl_norm.monitors.declare import monitor
from ssl_norm.monitors.normalized import wide_rows
from ssl_norm.monitors.spectrum import (
    RANKS,
    monitor_of_spectrum,
    rounding_floor,
    second_moment_spectrum,
    squared_singular_values,
)


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
def rank_me(embeddings: Tensor) -> Tensor:
    """Return RankMe, the exponential of the entropy of the singular values of embeddings.

    Embeddings (N >= 2, D) are neither centred nor normalized: a common direction counts as one
    dimension, however large, so that RankMe is about 1 near collapse. (:func:`effective_rank` is
    centred, and may then be near D, if the remaining differences are isotropic.) A high value does
    not prove that a network is healthy: read it with :func:`ssl_norm.monitors.feature_std`. N
    bounds the value, so use more rows than columns; 1e-7 raises it by the factor
    1 + 1.6e-6 min(N, D). Singular values below about 1.5e-8 sqrt(min(N, D)) of the largest one
    count as 0; the value of zeros is 1.

    Source: Garrido et al., "RankMe", arXiv 2210.02885, equations 1 and 2.
    """
    eigenvalues = second_moment_spectrum(embeddings)
    share = _singular_shares(eigenvalues) + 1e-7
    rank = (-(share * share.log()).sum()).exp()
    return rank.where(eigenvalues[0] != 0, 1.0)


@monitor_of_spectrum(
    prepares="centres",
    at_collapse=0.0,
    at_even="min(N - 1, D)",
    equation="exp(entropy of s / sum s)",
    source="Roy & Vetterli 2007",
    chart=RANKS,
    label="effective rank",
    decimals=1,
)
def effective_rank(eigenvalues: Tensor) -> Tensor:
    """Return the effective rank of centred embeddings (N >= 2, D), from 1 on, 0 if all are equal.

    The effective rank of near-constant embeddings may be high, because it is that of their
    remaining differences: read it with :func:`ssl_norm.monitors.feature_std`, or use
    :func:`rank_me`, which is not centred. Singular values are resolved as there.

    Source: Roy & Vetterli, "The effective rank", EUSIPCO 2007, which leaves centring to the user.
    """
    share = _singular_shares(eigenvalues)
    rank = torch.xlogy(share, share).sum().neg().exp()
    return rank.where(eigenvalues[0] != 0, 0.0)


def _singular_shares(eigenvalues: Tensor) -> Tensor:
    """Return the share of each singular value in their sum, from their squares; 0 if all are 0."""
    singular_values = eigenvalues.sqrt()
    total = singular_values.sum()
    return singular_values / total.where(total != 0, 1.0)


_DELTA = 1e-4  # added to the variance within images


@monitor(
    inputs="views",
    prepares="centres",
    cost="spectral",
    at_collapse=0.0,
    at_even="min(n - 1, D)",
    equation="exp(entropy of the spectrum of W^(-1/2) B W^(-1/2)); B between, W within images",
    source="arXiv 2312.04000",
    depends_on=("scale",),
    in_runs=False,
)
def lidar(views: Tensor) -> Tensor:
    """Return the rank of the linear discriminant analysis with one class per image.

        between = 1/(n-1) sum_i (m_i - m) (m_i - m)',   m_i = mean_j z_ij,   m = mean_i m_i
        within = 1/(n (q-1)) sum_ij (z_ij - m_i) (z_ij - m_i)' + delta I
        p = eig(within^(-1/2) between within^(-1/2)) / their sum + 1e-8,   exp(-sum_k p_k log p_k)

    The embeddings (n, q, D) of q >= 2 views of each of n >= 2 images are centred, not normalized.
    Cost: two eigenvalue decompositions, one of them of a D x D matrix with vectors. The value
    depends on n and q, so compare only values that have the same n and the same q. The constant
    delta = 1e-4 makes it depend on the length of the embeddings as well, unless that is far above
    0.01.

    Returns:
        Scalar without gradient: 0 at complete collapse (0/0, by definition), else about 1 to
        min(n - 1, D), reached at an even spread.

    Source: Thilak et al., "LiDAR", arXiv 2312.04000, section 3, equations 1 to 4.
    """
    if views.ndim != 3 or min(views.shape[:2]) < 2 or views.shape[2] == 0:
        raise ValueError(f"views must have shape (n >= 2, q >= 2, D), got {tuple(views.shape)}")
    n, q, D = views.shape
    rows = wide_rows(views.detach().reshape(n * q, D), "views")
    centres = rows.reshape(n, q, D).mean(1)
    deviations = (rows.reshape(n, q, D) - centres[:, None]).reshape(n * q, D)
    whitened = (centres - centres.mean(0)) @ _whitening(deviations, n * (q - 1))
    eigenvalues = squared_singular_values(whitened, rounding_floor(rows) / _DELTA)
    total = eigenvalues.sum()
    share = eigenvalues / total.where(total != 0, 1.0) + 1e-8
    return (-(share * share.log()).sum()).exp().where(total != 0, 0.0)


def _whitening(deviations: Tensor, degrees: int) -> Tensor:
    """Return the inverse root (D, D) of the covariance of deviations plus delta I."""
    within = deviations.T @ deviations / degrees
    finite = within.isfinite().all()
    identity = torch.eye(len(within)).to(within)
    matrix = within.where(finite, identity)
    host = matrix.cpu() if matrix.device.type == "mps" else matrix
    values, vectors = torch.linalg.eigh(host)
    roots = (values.clamp(min=0) + _DELTA).rsqrt()
    whitening: Tensor = (vectors * roots) @ vectors.T
    return whitening.to(within.device).where(finite, torch.nan)
