"""Everything the package needs to know of other processes; one process needs no process group."""

import torch
from torch import Tensor, distributed


def is_distributed() -> bool:
    """Whether a process group with more than one rank exists."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def rank() -> int:
    """Return this process's rank, 0 where there is only one."""
    return distributed.get_rank() if is_distributed() else 0


def world_size() -> int:
    """Return the number of processes, 1 where there is only one."""
    return distributed.get_world_size() if is_distributed() else 1


class _GatherBatch(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, local: Tensor) -> Tensor:
        parts = [torch.empty_like(local) for _ in range(world_size())]
        distributed.all_gather(parts, local.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> Tensor:  # type: ignore[override]
        total = grad.contiguous()
        distributed.all_reduce(total)
        return total.chunk(world_size())[rank()]


def gather_batch(local: Tensor) -> Tensor:
    """Return the rows of all ranks, in rank order, with gradients; the input itself where there is one process.

    Every rank then computes the same loss on the global batch. The backward pass sums the ranks' gradients, so
    that DistributedDataParallel's average over ranks equals the gradient of one process on the whole batch.

    Args:
        local: (N, ...) rows of this rank; N must be the same on every rank.

    Returns:
        (world_size * N, ...).
    """
    return _GatherBatch.apply(local) if is_distributed() else local  # type: ignore[no-any-return,no-untyped-call]
