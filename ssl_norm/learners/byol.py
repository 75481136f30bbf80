"""BYOL: prediction of the EMA network's projection of the other view."""

from torch import Tensor, nn

from ssl_norm.learners.ema import Decay, EmaSchedule, EmaTarget
from ssl_norm.learners.learner import Learner, LearnerOutput, global_rows
from ssl_norm.learners.views import ViewStatistics, per_view
from ssl_norm.losses import regression_loss


class BYOL(Learner):
    """BYOL with its symmetric loss, the sum of 2 - 2 cos over both orders of the views.

    Args:
        encoder: images to features (N, F).
        projector: features to projections (N, D).
        predictor: projections to predictions (N, D).
        ema_decay: weight of the target's old value at the start of the run.
        ema_schedule: `cosine` (to 1 over the run, as published) or `constant`.
        ema_buffers: whether the target's buffers follow by EMA; see :class:`EmaTarget`.
        view_statistics: `separate` (as published) or `joint`; see :func:`per_view`.

    Source: arXiv 2006.07733, section 3.
    """

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module,
        predictor: nn.Module,
        *,
        ema_decay: Decay = 0.996,
        ema_schedule: EmaSchedule = "cosine",
        ema_buffers: bool = False,
        view_statistics: ViewStatistics = "separate",
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector
        self.predictor = predictor
        self.target = EmaTarget(
            (encoder, projector), decay=ema_decay, schedule=ema_schedule, ema_buffers=ema_buffers
        )
        self.view_statistics = view_statistics

    def forward(self, view1: Tensor, view2: Tensor) -> LearnerOutput:
        """Return the loss and the (online, target) projections (z1, t2) and (z2, t1)."""
        views = (view1, view2)
        z1, z2 = per_view(self.project, views, self.view_statistics)
        p1, p2 = per_view(self.predictor, (z1, z2), self.view_statistics)
        t1, t2 = per_view(self.target, views, self.view_statistics)

        p1, p2, t1, t2, z1, z2 = global_rows(p1, p2, t1, t2, z1.detach(), z2.detach())
        loss = regression_loss(p1, t2) + regression_loss(p2, t1)
        return LearnerOutput(loss, ((z1, t2), (z2, t1)))

    def loss_at_collapse(self, batch_size: int) -> float:
        """Return 0, the minimum, since the predictor matches a constant exactly."""
        return 0.0

    def after_step(self, progress: float) -> None:
        """Update the target by EMA of encoder and projector."""
        self.target.follow((self.encoder, self.projector), progress)
