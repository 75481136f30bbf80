"""MoCo v2: contrast of queries with keys of an EMA network and an embedding queue."""

from collections.abc import Callable
from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor, nn

from ssl_norm.distributed import gather_batch, on_device, rank, tensor_from_first_rank, world_size
from ssl_norm.learners.ema import Decay, EmaSchedule, EmaTarget
from ssl_norm.learners.learner import Learner, LearnerOutput, global_rows
from ssl_norm.learners.views import ViewStatistics, per_view
from ssl_norm.losses import cross_entropy_at_collapse, info_nce, info_nce_accuracy
from ssl_norm.losses.rows import Temperature, unit_rows
from ssl_norm.norms.layers.domain_batch_norm import chunks_of_all_ranks


class MoCoV2(Learner):
    """MoCo v2 with its InfoNCE loss; if symmetric, the sum over both orders of the views.

    Args:
        encoder: images to features (N, F).
        projector: features to queries and keys (N, D).
        embedding_dim: D.
        temperature: divides the cosines; positive.
        queue_size: K keys of earlier batches, a multiple of the global batch size.
        symmetric: true: each view is both query and key (MoCo's CIFAR recipe); false: the first
            view is the query and the second the key (as published for ImageNet).
        shuffle_keys: compute keys on a permuted batch (as published), so that a key and its query
            have different batch statistics. This has an effect only if statistics cover a part of
            the batch: with several ranks and a batch norm without `sync`, or with ghost batches.
        ema_decay: weight of the key network's old value at the start of the run.
        ema_schedule: `constant` (as published) or `cosine`.
        ema_buffers: whether the key network's buffers follow by EMA; see :class:`EmaTarget`.
        view_statistics: `separate` (as published) or, if symmetric, `joint`; see :func:`per_view`.

    Raises:
        ValueError: `joint` statistics without `symmetric`: no network sees both views.

    Source: MoCo, arXiv 1911.05722, algorithm 1 and section 3.3; MoCo v2, arXiv 2003.04297.
    """

    scalars = ("contrastive_accuracy",)

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module,
        *,
        embedding_dim: int,
        temperature: Temperature = 0.2,
        queue_size: Annotated[int, Interval(ge=1, le=10**9)] = 4096,
        symmetric: bool = False,
        shuffle_keys: bool = True,
        ema_decay: Decay = 0.99,
        ema_schedule: EmaSchedule = "constant",
        ema_buffers: bool = False,
        view_statistics: ViewStatistics = "separate",
    ) -> None:
        super().__init__()
        self.view_statistics = view_statistics
        if view_statistics == "joint" and not symmetric:
            raise ValueError(
                "view_statistics=joint needs symmetric=true: otherwise each of MoCo's networks "
                "sees only one view"
            )
        self.encoder = encoder
        self.projector = projector
        self.target = EmaTarget(
            (encoder, projector), decay=ema_decay, schedule=ema_schedule, ema_buffers=ema_buffers
        )
        self.queue = KeyQueue(queue_size, embedding_dim)
        self.temperature = temperature
        self.symmetric = symmetric
        self.shuffle_keys = shuffle_keys

    def keys(self, view: Tensor) -> Tensor:
        """Return the keys (N, D) of one view, or of both, in the order of the images."""
        if not self.shuffle_keys:
            k: Tensor = self.target(view)
            return k
        permutation = shared_permutation(len(view) * world_size(), view.device)
        # The permutation is that of one process, which has view 1 of all images first. A gather
        # has both views of rank 0 first.
        views = 2 if self.view_statistics == "joint" else 1
        places = torch.arange(len(permutation), device=view.device).view(world_size(), views, -1)
        return on_permuted_batch(self.target, view, places.transpose(0, 1).flatten()[permutation])

    def forward(self, view1: Tensor, view2: Tensor) -> LearnerOutput:
        """Return the loss and the (query, key) pairs (q1, k2) and, if symmetric, (q2, k1)."""
        if self.symmetric:
            q1, q2 = per_view(self.project, (view1, view2), self.view_statistics)
            k1, k2 = per_view(self.keys, (view1, view2), self.view_statistics)
            q1, q2, k1, k2 = global_rows(q1, q2, k1, k2)
            return self.contrast((q1, k2), (q2, k1))
        with chunks_of_all_ranks():
            return self.contrast(global_rows(self.project(view1), self.keys(view2)))

    def contrast(self, *pairs: tuple[Tensor, ...]) -> LearnerOutput:
        """Return the loss, and the share of queries that are nearer to their key than to the queue.

        A pair is (queries, keys), each (N, D); there is one for each order of the views.
        """
        queue = self.queue.keys
        losses = [info_nce(q, k, queue, self.temperature) for q, k in pairs]
        accuracies = [info_nce_accuracy(q, k, queue) for q, k in pairs]
        return LearnerOutput(
            torch.stack(losses).sum(),
            tuple((q.detach(), k) for q, k in pairs),
            {"contrastive_accuracy": torch.stack(accuracies).mean()},
        )

    def loss_at_collapse(self, batch_size: int) -> float:
        """Return ln(1 + K) for each order of the views: the key is as near as all K others."""
        one_direction = cross_entropy_at_collapse(1 + len(self.queue.keys))
        return 2 * one_direction if self.symmetric else one_direction

    def after_backward(self, output: LearnerOutput) -> None:
        """Enqueue the keys of this batch as negatives of later batches."""
        for _, keys in output.pairs:
            self.queue.enqueue(keys)

    def after_step(self, progress: float) -> None:
        """Update the key network by EMA of the query network."""
        self.target.follow((self.encoder, self.projector), progress)


class KeyQueue(nn.Module):
    """Embedding queue: buffers `keys` (size, dim), L2-normalized, and `pointer` to the next place.

    It starts with random rows. Enqueueing works on the device, without waiting for it.

    Source: MoCo, arXiv 1911.05722, section 3.2.
    """

    keys: Tensor
    pointer: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        (keys,) = unit_rows(torch.randn(size, dim))
        self.register_buffer("keys", keys)
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """L2-normalize the rows of `keys` (N, dim), and replace the oldest rows by them.

        Raises:
            ValueError: the width is not the queue's, or the queue's size is not a multiple of N.
        """
        size, dim = self.keys.shape
        if keys.dim() != 2 or keys.shape[1] != dim:
            raise ValueError(f"keys must have shape (N, {dim}), got {tuple(keys.shape)}")
        if len(keys) == 0 or size % len(keys) != 0:
            raise ValueError(
                f"the queue's size must be a multiple of the batch size, got {size} and {len(keys)}"
            )
        (rows,) = unit_rows(keys)
        places = (self.pointer + torch.arange(len(keys), device=keys.device)) % size
        self.keys.index_copy_(0, places, rows.to(self.keys.dtype))
        self.pointer.add_(len(keys)).remainder_(size)


def shared_permutation(size: int, device: torch.device | None = None) -> Tensor:
    """Return a random permutation of 0 ... `size` - 1, (size,) int64, the same on every rank.

    Rank zero draws it from torch's default CPU generator. It therefore depends only on the seed of
    this generator, not on the device or the number of ranks.
    """
    permutation = torch.randperm(size)
    return tensor_from_first_rank(permutation if device is None else on_device(permutation, device))


@torch.no_grad()
def on_permuted_batch(
    network: Callable[[Tensor], Tensor], rows: Tensor, permutation: Tensor
) -> Tensor:
    """Return the network's outputs for this rank's rows, computed on a permuted global batch.

    The global batch consists of N rows of each of W ranks in rank order, and is permuted. Rank r
    passes rows [r N, (r + 1) N) of the result through its network; each output returns to the rank
    and place of its row. Operations on single rows are unaffected. Statistics of a part of the
    global batch (of a rank, or of a ghost batch) change. Statistics of the whole batch (one process
    or `sync`, and no ghost batches) stay the same, and still leak which rows belong together. N and
    the permutation (W N,) of 0 ... W N - 1 are the same on every rank.

    Source: MoCo, arXiv 1911.05722, section 3.3, "Shuffling BN".
    """
    size = len(rows)
    if len(permutation) != size * world_size():
        raise ValueError(
            f"expected a permutation of the {size * world_size()} rows of all ranks, "
            f"got one of {len(permutation)}"
        )
    own = slice(rank() * size, (rank() + 1) * size)
    with chunks_of_all_ranks():
        outputs = network(gather_batch(rows)[permutation[own]])
    return gather_batch(outputs)[permutation.argsort()[own]]
