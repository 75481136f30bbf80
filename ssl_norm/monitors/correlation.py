"""Correlation between the dimensions of embeddings."""

import torch
from torch import Tensor

from ssl_norm.monitors.declare import monitor
from ssl_norm.monitors.eigenvalues import ROUNDING
from ssl_norm.monitors.normalized import wide_rows


@monitor(
    prepares="centres",
    cost="quadratic",
    at_collapse=0.0,
    at_even="about 1/sqrt(N)",
    equation="sqrt(mean_{d != e} r_de^2), r: correlation; 1 at rank one",
    source="arXiv 2103.03230",
    depends_on=("axes",),
    chart="off-diagonal correlation (1: all alike)",
)
def off_diagonal_correlation(embeddings: Tensor) -> Tensor:
    """Return the root mean square correlation of different dimensions.

        sqrt( mean_{d != e} r_de^2 ),   r_de = corr_n(z[n, d], z[n, e])

    Every dimension is centred and divided by its deviation; rows are not normalized. The mean
    square is Barlow Twins' redundancy term, of one view against itself, per pair of dimensions;
    VICReg's covariance term is the same before the division. Cost O(N D min(N, D)).

    Args:
        embeddings: (N, D), N >= 2; independent dimensions have about 1/sqrt(N).

    Returns:
        Scalar in [0, 1], in float64 where the device has it: 1 where all dimensions vary along one
        line; 0 for uncorrelated ones, and also at complete collapse and for D = 1, because a
        dimension that does not vary correlates with none (as in Barlow Twins, whose batch norm
        makes it 0): read it with :func:`ssl_norm.monitors.dead_dimensions`; NaN in, NaN out.

    Raises:
        ValueError: another shape.

    Source: Zbontar et al., arXiv 2103.03230, equation 1 (redundancy reduction term); Hua et al.,
    arXiv 2105.00470, who name correlated dimensions as a form of collapse.

    Example:
        >>> line = torch.tensor([[1.0, -2.0], [2.0, -4.0], [5.0, -10.0]])
        >>> round(off_diagonal_correlation(line).item(), 6)
        1.0
    """
    rows = wide_rows(embeddings)
    count, size = rows.shape
    centred = rows - rows.mean(0)
    deviation = centred.square().mean(0).sqrt()
    rounding = ROUNDING * torch.finfo(rows.dtype).eps * rows.square().mean(0).sqrt()
    standardized = (centred / deviation).where(~(deviation <= rounding), 0.0)
    pairs = max(1, size * (size - 1))
    if 2 * count < size:
        # The N x N products have the same sum of squares, and need no D x D table. Where all
        # dimensions vary it is above 2 D, so that subtracting the diagonal, D, loses little.
        products = standardized @ standardized.T / count
        diagonal = standardized.square().mean(0)
        left = products.square().sum() - diagonal.square().sum()
        return left.clamp(min=0).div(pairs).sqrt()
    correlation = standardized.T @ standardized / count
    off_diagonal = correlation - correlation.diagonal().diag()
    return off_diagonal.square().sum().div(pairs).sqrt()
