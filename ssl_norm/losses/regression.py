"""Loss of BYOL, a regression of the target projection."""

from torch import Tensor

from ssl_norm.losses.declare import loss
from ssl_norm.losses.rows import check_matching_rows, full_precision, unit_rows


@loss(low=0.0, high=4.0, at_collapse=lambda *rows: 0.0)
def regression_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean over rows of 2 - 2 cos(prediction_i, target_i).

    It is computed as the squared distance of rows (N, D), L2-normalized in float32 or wider, which
    is the same value but stays exact as cosines approach 1. Its minimum, 0, is also its value at
    complete collapse, so a low value alone is no progress. Gradients flow into both arguments;
    detach the target before the call.

    Source: BYOL, arXiv 2006.07733, equation 2; the learner adds the loss with exchanged views.
    """
    check_matching_rows(prediction=prediction, target=target)
    with full_precision(prediction):
        p, t = unit_rows(prediction, target)
        return (p - t).square().sum(dim=1).mean()
