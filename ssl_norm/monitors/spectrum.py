"""Spectrum of embeddings, and monitors of dimensional collapse that follow from its shape."""

from collections.abc import Callable
from functools import wraps
from math import nan
from typing import Any

import torch
from torch import Tensor

from ssl_norm.monitors.declare import monitor
from ssl_norm.monitors.normalized import directions, wide_rows

RANKS = "dimensions in use"  # chart
_DECAY = "decay of the spectrum"  # chart
Measure = Callable[[Tensor], Tensor]


def covariance_spectrum(embeddings: Tensor) -> Tensor:
    """Return the eigenvalues of the covariance of embeddings (N >= 2, D), descending.

        C = 1/N sum_n (z_n - mean) (z_n - mean)'

    Embeddings are centred, not normalized. Values below 1e-15 min(N, D) of the largest one, or
    below the rounding of the mean, are 0: see :func:`squared_singular_values`.

    Returns:
        (min(N, D),), never negative. All 0 at complete collapse, all equal at an even spread.

    Source: Jing et al., arXiv 2110.09348 (its code takes l2-normalized rows).
    """
    rows = wide_rows(embeddings)
    return squared_singular_values(rows - rows.mean(0), rounding_floor(rows))


def second_moment_spectrum(embeddings: Tensor) -> Tensor:
    """Return the eigenvalues of 1/N sum_n z_n z_n', descending; neither centred nor normalized.

    At complete collapse the first is the squared length of the mean and the others are 0: a common
    direction is part of this spectrum. Shapes are those of :func:`covariance_spectrum`.
    """
    return squared_singular_values(wide_rows(embeddings))


def monitor_of_spectrum(**facts: Any) -> Callable[[Measure], Measure]:
    """Return a decorator that turns a function of eigenvalues into a monitor of embeddings.

    The eigenvalues are the :func:`covariance_spectrum` of the embeddings (N >= 2, D), which are
    L2-normalized first if the monitor prepares `both`.
    """

    def attach(function: Measure) -> Measure:
        @wraps(function)
        def measured(embeddings: Tensor) -> Tensor:
            rows = directions(embeddings) if facts["prepares"] == "both" else embeddings
            return function(covariance_spectrum(rows))

        del measured.__wrapped__  # its argument is another
        return monitor(cost="spectral", of_spectrum=function, **facts)(measured)

    return attach


@monitor_of_spectrum(
    prepares="centres",
    at_collapse=0.0,
    at_even="min(N - 1, D)",
    equation="(sum_k s_k^2)^2 / sum_k s_k^4",
    source="bioRxiv 214262",
    chart=RANKS,
)
def participation_ratio(eigenvalues: Tensor) -> Tensor:
    """Return the number of dimensions that share the variance, with the range of :func:`ne_sum`.

    Source: Gao et al., "A theory of multineuronal dimensionality", bioRxiv 214262.
    """
    relative = eigenvalues / _nonzero(eigenvalues[0])
    return relative.sum().square() / _nonzero(relative.square().sum())


@monitor_of_spectrum(
    prepares="centres",
    at_collapse=0.0,
    at_even="min(N - 1, D)",
    equation="sum_k s_k^2 / s_1^2",
    source="He & Ozay 2022",
    chart=RANKS,
)
def ne_sum(eigenvalues: Tensor) -> Tensor:
    """Return the sum of the covariance's eigenvalues relative to the largest one.

    The embeddings are (N >= 2, D). The value is 0 (0/0, by definition) if all are equal, else from
    1, all variance in one direction, to min(N - 1, D).

    Source: He & Ozay, "Exploring the Gap between Collapsed & Whitened Features in Self-Supervised
    Learning", ICML 2022.
    """
    return eigenvalues.sum() / _nonzero(eigenvalues[0])


@monitor_of_spectrum(
    prepares="centres",
    at_collapse=nan,
    at_even="0",
    equation="a of s_i^2 ~ i^-a, fitted over i = 10..99",
    source="Agrawal et al. 2022",
    chart=_DECAY,
)
def alpha_req(eigenvalues: Tensor) -> Tensor:
    """Return the exponent alpha of a power law lambda_i ~ i^-alpha of the covariance spectrum.

    alpha is minus the slope of the straight line through the points (log i, log lambda_i) that
    minimizes their squared distances, weighted by 1/i; lambda is the :func:`covariance_spectrum` of
    embeddings (N >= 2, D): centred, not normalized. The fit is over i = 10..99; the head of a
    spectrum follows no power law, and eigenvalues of 0 are ignored.

    Returns:
        Scalar >= 0: 0 at an even spread; the faster the spectrum falls, the higher. NaN if fewer
        than two eigenvalues above 0 are in the range, as at complete collapse.

    Source: Agrawal et al., "alpha-ReQ", NeurIPS 2022; weights and range as in its authors' code,
    which varies the range between experiments.
    """
    tail = eigenvalues[9:99]
    rank = torch.arange(10, 10 + len(tail), dtype=tail.dtype, device=tail.device)
    positive = tail > 0
    weight = (1 / rank).where(positive, 0.0)
    x, y = rank.log(), tail.where(positive, 1.0).log()
    from_mean = x - (weight * x).sum() / weight.sum()
    slope = (weight * from_mean * y).sum() / (weight * from_mean.square()).sum()
    return (-slope).where(positive.sum() >= 2, torch.nan)


@monitor_of_spectrum(
    prepares="both",
    at_collapse=1.0,
    at_even="about 1/2",
    equation="mean_k (sum_{i <= k} s_i / sum s)",
    source="arXiv 2209.15007",
    chart=_DECAY,
)
def cev_auc(eigenvalues: Tensor) -> Tensor:
    """Return the area under the cumulative explained variance of embeddings (N >= 2, D).

    As in the source, these are standard deviations, not variances. The value is from
    (K + 1) / (2 K), if all K = min(N, D) singular values are equal, to 1, if all but one are 0.

    Source: Li, Efros & Pathak, arXiv 2209.15007.
    """
    s = eigenvalues.sqrt()
    area = (s.cumsum(0) / _nonzero(s.sum())).mean()
    return area.where(s[0] != 0, 1.0)


def _nonzero(divisor: Tensor) -> Tensor:
    return divisor.where(divisor != 0, 1.0)


ROUNDING = 64  # error of means and lengths of equal rows, in units of the last place


def squared_singular_values(rows: Tensor, floor: Tensor | float = 0.0) -> Tensor:
    """Return the descending eigenvalues of rows^T rows / N by one eigenvalue decomposition.

    The smaller of the D x D and the N x N Gram matrix is decomposed, in O(N D min(N, D)), which is
    many times faster than a singular value decomposition of the rows, but less precise: squaring
    halves the number of digits, so a singular value is accurate to about 1e-8 of the largest one.
    Eigenvalues below this resolution, min(N, D) times the machine's epsilon, and those up to
    `floor` are rounding errors and set to 0: a matrix of rank r has r eigenvalues above 0.

    Returns:
        (min(N, D),), without gradient, never negative; all NaN if a row is not finite.
    """
    rows = rows.detach()
    count, size = rows.shape
    gram = (rows.T @ rows if size <= count else rows @ rows.T) / count
    finite = gram.isfinite().all()
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    matrix = gram.where(finite, identity)
    matrix = matrix.cpu() if matrix.device.type == "mps" else matrix  # mps has no eigvalsh
    eigenvalues: Tensor = torch.linalg.eigvalsh(matrix).to(gram.device).flip(0)
    resolution = len(gram) * torch.finfo(gram.dtype).eps * eigenvalues[0]
    above = (eigenvalues > resolution) & (eigenvalues > floor)
    return eigenvalues.where(above, 0.0).where(finite, torch.nan)


def rounding_floor(rows: Tensor) -> Tensor:
    """Return the variance, a scalar, that rounding alone causes in equal rows."""
    return (ROUNDING * torch.finfo(rows.dtype).eps) ** 2 * rows.square().sum(1).mean()
