"""The negative cosine of SimSiam."""

from torch import Tensor

from ssl_norm.losses.declare import loss
from ssl_norm.losses.rows import check_matching_rows, full_precision, unit_rows


@loss(low=-1.0, high=1.0, at_collapse=lambda *rows: -1.0)
def cosine_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean over rows of -cos(prediction_i, target_i).

    Gradients flow into both arguments; detach the target before the call.

    Args:
        prediction: (N, D) rows of any length.
        target: (N, D), whose row i is predicted by row i of `prediction`.

    Returns:
        Scalar in [-1, 1]; -1 at complete collapse, which is also its minimum.

    Raises:
        ValueError: the shapes differ, or are not (N >= 1, D >= 1).

    Source: SimSiam, arXiv 2011.10566, equation 1.
    """
    check_matching_rows(prediction=prediction, target=target)
    with full_precision(prediction):
        p, t = unit_rows(prediction, target)
        return -(p * t).sum(dim=1).mean()
