"""Key shuffling: outputs of a permuted batch, so that other rows share batch statistics."""

from collections.abc import Callable

import torch
from torch import Tensor

from ssl_norm.distributed import gather_batch, rank, tensor_from_first_rank, world_size


def shared_permutation(size: int, device: torch.device | None = None) -> Tensor:
    """Return a random permutation of 0 ... `size` - 1, (size,) int64, the same on every rank.

    Rank 0 draws it from torch's own CPU generator, as dropout draws its masks, so that it is the
    same on every device and on any number of ranks, and as reproducible as that generator's seed.
    """
    return tensor_from_first_rank(torch.randperm(size).to(device))


@torch.no_grad()
def on_permuted_batch(
    network: Callable[[Tensor], Tensor], rows: Tensor, permutation: Tensor
) -> Tensor:
    """Return the network's outputs for this rank's rows, computed on a permuted global batch.

    The global batch, N rows of each of W ranks in rank order, is permuted; rank r puts rows
    [r N, (r + 1) N) of the result through its network; each output goes back to the rank and place
    of its row. Operations on single rows are unaffected. Statistics of a part of the global batch
    (of a rank, or of a ghost batch) change. Those of the whole batch (one process or `sync`, and no
    ghost batches) stay the same, and still leak which rows belong together.

    Args:
        network: maps (N, ...) to (N, D) and needs no gradients; each rank's own.
        rows: (N, ...), N the same on every rank.
        permutation: (W N,) int64 of 0 ... W N - 1, the same on every rank.

    Returns:
        (N, D), without gradients; row i is the output for `rows[i]`.

    Raises:
        ValueError: the permutation does not have the length of the global batch.

    Source: MoCo, arXiv 1911.05722, section 3.3, "Shuffling BN".

    Example:
        >>> on_permuted_batch(torch.neg, torch.tensor([1, 2, 3]), torch.tensor([2, 0, 1]))
        tensor([-1, -2, -3])
    """
    size = len(rows)
    if len(permutation) != size * world_size():
        raise ValueError(
            f"a permutation of the {size * world_size()} rows of all ranks expected, "
            f"got {len(permutation)} places"
        )
    own = slice(rank() * size, (rank() + 1) * size)
    outputs = network(gather_batch(rows)[permutation[own]])
    return gather_batch(outputs)[permutation.argsort()[own]]
