"""SimSiam: prediction of the other view's projection without negatives or a moving average."""

from torch import Tensor, nn

from ssl_norm.learners.learner import Learner, LearnerOutput, global_rows
from ssl_norm.learners.views import ViewStatistics, per_view
from ssl_norm_example.cosine_loss import cosine_loss


class SimSiam(Learner):
    """SimSiam's symmetric loss; no gradient flows through the targets.

    Args:
        encoder: images to features (N, F).
        projector: features to projections (N, D).
        predictor: projections to predictions (N, D).
        view_statistics: `separate` (as published) or `joint`; see
            :func:`~ssl_norm.learners.views.per_view`.

    Source: arXiv 2011.10566, algorithm 1.
    """

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module,
        predictor: nn.Module,
        *,
        view_statistics: ViewStatistics = "separate",
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector
        self.predictor = predictor
        self.view_statistics = view_statistics

    def forward(self, view1: Tensor, view2: Tensor) -> LearnerOutput:
        """Return the loss and the pairs (p1, z2) and (p2, z1) of predictions and targets."""
        z1, z2 = per_view(self.project, (view1, view2), self.view_statistics)
        p1, p2 = per_view(self.predictor, (z1, z2), self.view_statistics)
        p1, p2, z1, z2 = global_rows(p1, p2, z1.detach(), z2.detach())
        loss = (cosine_loss(p1, z2) + cosine_loss(p2, z1)) / 2
        return LearnerOutput(loss, ((p1.detach(), z2), (p2.detach(), z1)))

    def loss_at_collapse(self, batch_size: int) -> float:
        """Return -1: every prediction has the direction of its target."""
        return -1.0
