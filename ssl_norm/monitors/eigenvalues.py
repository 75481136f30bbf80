"""Squared singular values of a matrix, from the smaller of its two Gram matrices."""

import torch
from torch import Tensor

ROUNDING = 64  # units in the last place that means and lengths of equal rows may be off


def squared_singular_values(rows: Tensor, floor: Tensor | float = 0.0) -> Tensor:
    """Return the eigenvalues of rows' rows / N, descending, by one eigenvalue decomposition.

    Of the D x D and the N x N Gram matrix the smaller is decomposed, in O(N D min(N, D)), which is
    many times faster than singular values of the rows. The price is precision: squaring halves the
    digits, so that a singular value is right to about 1e-8 of the largest one. Eigenvalues below
    this resolution, min(N, D) times the machine's epsilon, are set to 0: a matrix of rank r has r
    eigenvalues above 0. No gradient flows.

    Args:
        rows: (N, D), float64 where the device has it.
        floor: eigenvalues up to here are rounding errors as well, and set to 0.

    Returns:
        (min(N, D),), never negative; all NaN if a row is not finite.
    """
    rows = rows.detach()
    count, size = rows.shape
    gram = (rows.T @ rows if size <= count else rows @ rows.T) / count
    finite = gram.isfinite().all()
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    eigenvalues = _symmetric_eigenvalues(gram.where(finite, identity)).flip(0)
    resolution = len(gram) * torch.finfo(gram.dtype).eps * eigenvalues[0]
    above = (eigenvalues > resolution) & (eigenvalues > floor)
    return eigenvalues.where(above, 0.0).where(finite, torch.nan)


def _symmetric_eigenvalues(matrix: Tensor) -> Tensor:
    """Return the ascending eigenvalues; by way of the host from mps, which cannot compute them."""
    host = matrix.cpu() if matrix.device.type == "mps" else matrix
    eigenvalues: Tensor = torch.linalg.eigvalsh(host)
    return eigenvalues.to(matrix.device)


def rounding_floor(rows: Tensor) -> Tensor:
    """Return the variance, a scalar, that rounding alone gives to rows that are all equal."""
    return (ROUNDING * torch.finfo(rows.dtype).eps) ** 2 * rows.square().sum(1).mean()
