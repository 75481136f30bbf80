"""Spread of L2-normalized embeddings, and correlation of their dimensions."""

from math import sqrt

import torch
from torch import Tensor

from ssl_norm.monitors.declare import monitor
from ssl_norm.monitors.normalized import directions, wide_rows
from ssl_norm.monitors.spectrum import ROUNDING

_DEAD_BELOW = 0.05  # share of the deviation at an even spread


@monitor(
    prepares="normalizes",
    cost="linear",
    at_collapse=0.0,
    at_even="1",
    equation="sqrt(D) mean_d std_n(z[n, d])",
    source="arXiv 2011.10566",
    depends_on=("axes",),
    chart="feature std (1: even spread, 0: complete collapse)",
    label="feature std",
)
def feature_std(embeddings: Tensor) -> Tensor:
    """Return the standard deviation of l2-normalized features, relative to an even spread.

    Of embeddings (N >= 2, D); std is the biased one (correction=0), so that the value is in [0, 1].

    Source: Chen & He, arXiv 2011.10566 (SimSiam), times sqrt(D).
    """
    return std_of_directions(directions(embeddings)).mean()


def std_per_dimension(embeddings: Tensor) -> Tensor:
    """Return the terms (D,) of the mean of :func:`feature_std`, each in [0, sqrt(D)]."""
    return std_of_directions(directions(embeddings))


def std_of_directions(z: Tensor) -> Tensor:
    """Return :func:`std_per_dimension`, (D,), of rows that are already l2-normalized."""
    # Two passes, as in z.std(0, correction=0), which is slower on a CPU.
    deviation = (z - z.mean(0)).square().mean(0).sqrt()
    return deviation * sqrt(z.shape[1])


def _dead_dimensions(z: Tensor) -> Tensor:
    deviations = std_of_directions(z)
    dead = (deviations < _DEAD_BELOW).to(deviations.dtype)
    return dead.where(deviations.isfinite(), torch.nan).mean()


@monitor(
    prepares="normalizes",
    cost="linear",
    at_collapse=1.0,
    at_even="0",
    equation="mean_d [sqrt(D) std_n(z[n, d]) < 0.05]",
    source="own definition",
    depends_on=("axes",),
    chart="share of dead dimensions (1: complete collapse)",
    of_normalized=_dead_dimensions,
)
def dead_dimensions(embeddings: Tensor) -> Tensor:
    """Return the share of dimensions that hardly vary over l2-normalized embeddings.

    A dimension of embeddings (N >= 2, D) is compared with an even spread, not with the others, so
    that all are dead at complete collapse. A share of 0.05 is 1/400 of the variance; all dimensions
    have it at a mean cosine of 1 - 0.05^2 = 0.9975.

    Source: own definition, based on SimSiam's std (arXiv 2011.10566, section 4.1); dead dimensions
    as a symptom: lucidrains/byol-pytorch issue 44.
    """
    return _dead_dimensions(directions(embeddings))


@monitor(
    prepares="centres",
    cost="quadratic",
    at_collapse=0.0,
    at_even="about 1/sqrt(N)",
    equation="sqrt(mean_{d != e} r_de^2), r: correlation; 1 at rank one",
    source="arXiv 2103.03230",
    depends_on=("axes",),
    chart="off-diagonal correlation (1: all equal)",
)
def off_diagonal_correlation(embeddings: Tensor) -> Tensor:
    """Return the root mean square correlation of different dimensions of embeddings (N >= 2, D).

    Every dimension is centred and divided by its deviation. The mean square is Barlow Twins'
    redundancy term per pair of dimensions, of one view against itself; VICReg's covariance term is
    the same without the division. It is 1 if all dimensions vary along one line, and 0 for
    uncorrelated ones, but also at complete collapse and for D = 1, because a dimension that does
    not vary correlates with none: read it with :func:`dead_dimensions`.

    Source: Zbontar et al., arXiv 2103.03230, equation 1 (redundancy reduction term); Hua et al.,
    arXiv 2105.00470, who name correlated dimensions as a form of collapse.
    """
    rows = wide_rows(embeddings)
    count, size = rows.shape
    centred = rows - rows.mean(0)
    deviation = centred.square().mean(0).sqrt()
    rounding = ROUNDING * torch.finfo(rows.dtype).eps * rows.square().mean(0).sqrt()
    standardized = (centred / deviation).where(~(deviation <= rounding), 0.0)
    pairs = max(1, size * (size - 1))
    if 2 * count < size:
        # The N x N products have the same sum of squares, without a D x D table. If all dimensions
        # vary, it is above 2 D, so subtracting the diagonal, D, loses little.
        products = standardized @ standardized.T / count
        diagonal = standardized.square().mean(0)
        left = products.square().sum() - diagonal.square().sum()
        return left.clamp(min=0).div(pairs).sqrt()
    correlation = standardized.T @ standardized / count
    off_diagonal = correlation - correlation.diagonal().diag()
    return off_diagonal.square().sum().div(pairs).sqrt()
