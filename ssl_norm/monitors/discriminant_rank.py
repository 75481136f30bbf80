"""Rank of the differences between images, relative to those between views of one image."""

import torch
from torch import Tensor

from ssl_norm.monitors.declare import monitor
from ssl_norm.monitors.eigenvalues import rounding_floor, squared_singular_values
from ssl_norm.monitors.normalized import wide_rows


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
def lidar(views: Tensor, delta: float = 1e-4, eps: float = 1e-8) -> Tensor:
    """Return the rank of the linear discriminant analysis with one class per image.

        between = 1/(n-1) sum_i (m_i - m) (m_i - m)',   m_i = mean_j z_ij,   m = mean_i m_i
        within = 1/(n (q-1)) sum_ij (z_ij - m_i) (z_ij - m_i)' + delta I
        p = eig(within^(-1/2) between within^(-1/2)) / their sum + eps,   exp(-sum_k p_k log p_k)

    Centred, not normalized. Cost: two eigenvalue decompositions, one of D x D with vectors. Values
    depend on n, q and delta: compare only where these are equal. Because of delta the length of
    embeddings matters, unless it is far above sqrt(delta). No gradient flows.

    Args:
        views: (n, q, D) embeddings of q >= 2 views of each of n >= 2 images.
        delta: added to the variance within images.
        eps: added to each share, of min(n, D) eigenvalues.

    Returns:
        Scalar: 0 at complete collapse (0/0, by definition), else about 1 to min(n - 1, D), reached
        at an even spread, in float64 where the device has it; NaN in, NaN out.

    Raises:
        ValueError: another shape, or delta or eps is not positive.

    Source: Thilak et al., "LiDAR", arXiv 2312.04000, section 3, equations 1 to 4.
    """
    if views.ndim != 3 or min(views.shape[:2]) < 2 or views.shape[2] == 0:
        raise ValueError(f"views must have shape (n >= 2, q >= 2, D), got {tuple(views.shape)}")
    if not (delta > 0 and eps > 0):
        raise ValueError(f"delta and eps must be positive, got {delta} and {eps}")
    n, q, D = views.shape
    rows = wide_rows(views.detach().reshape(n * q, D), "views")
    centres = rows.reshape(n, q, D).mean(1)
    deviations = (rows.reshape(n, q, D) - centres[:, None]).reshape(n * q, D)
    whitened = (centres - centres.mean(0)) @ _whitening(deviations, n * (q - 1), delta)
    eigenvalues = squared_singular_values(whitened, rounding_floor(rows) / delta)
    total = eigenvalues.sum()
    share = eigenvalues / total.where(total != 0, 1.0) + eps
    return (-(share * share.log()).sum()).exp().where(total != 0, 0.0)


def _whitening(deviations: Tensor, degrees: int, delta: float) -> Tensor:
    """Return (D, D), whose square is the inverse of deviations' deviations / degrees + delta I."""
    within = deviations.T @ deviations / degrees
    finite = within.isfinite().all()
    identity = torch.eye(len(within)).to(within)
    host = within.where(finite, identity).to(
        "cpu" if within.device.type == "mps" else within.device
    )
    values, vectors = torch.linalg.eigh(host)
    roots = (values.clamp(min=0) + delta).rsqrt()
    whitening: Tensor = (vectors * roots) @ vectors.T
    return whitening.to(within.device).where(finite, torch.nan)
