"""SimCLR: contrast of the two views of an image with all other views of the batch."""

from torch import Tensor, nn

from ssl_norm.learners.learner import Learner, LearnerOutput, global_rows
from ssl_norm.learners.views import ViewStatistics, per_view
from ssl_norm.losses import cross_entropy_at_collapse, nt_xent, nt_xent_accuracy
from ssl_norm.losses.rows import Temperature


class SimCLR(Learner):
    """SimCLR with its NT-Xent loss over the global batch.

    Args:
        encoder: images to features (N, F).
        projector: features to projections (N, D).
        temperature: divides the cosines; positive.
        view_statistics: `separate` or `joint` (as published); see :func:`per_view`.

    Source: arXiv 2002.05709, algorithm 1.
    """

    scalars = ("contrastive_accuracy",)

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module,
        *,
        temperature: Temperature = 0.5,
        view_statistics: ViewStatistics = "separate",
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector
        self.temperature = temperature
        self.view_statistics = view_statistics

    def forward(self, view1: Tensor, view2: Tensor) -> LearnerOutput:
        """Return the loss and the pair (z1, z2) of projections; there is no target network."""
        z1, z2 = global_rows(*per_view(self.project, (view1, view2), self.view_statistics))
        loss = nt_xent(z1, z2, self.temperature)
        scalars = {"contrastive_accuracy": nt_xent_accuracy(z1, z2)}
        return LearnerOutput(loss, ((z1.detach(), z2.detach()),), scalars)

    def loss_at_collapse(self, batch_size: int) -> float:
        """Return ln(2N - 1): all other views of the batch are equally near."""
        return cross_entropy_at_collapse(2 * batch_size - 1)
