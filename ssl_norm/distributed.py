"""Ranks, broadcasts and gathers; a single process needs no process group."""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar, cast

import torch
from torch import Tensor, distributed
from torch.autograd.function import FunctionCtx

from ssl_norm.errors import UserError

T = TypeVar("T")


def is_distributed() -> bool:
    """Return True if a process group has more than one rank."""
    return world_size() > 1


def rank() -> int:
    """Return the rank of this process; 0 without a process group."""
    return distributed.get_rank() if is_distributed() else 0


def world_size() -> int:
    """Return the number of processes; 1 without a process group."""
    exists = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if exists else 1


def from_first_rank(work: Callable[[], T]) -> T:
    """Call `work` on rank zero and return its result on every rank: plain values, CPU tensors.

    Raises:
        UserError: on every rank, the error that `work` raised.
    """
    if not is_distributed():
        return work()
    result: T | None = None
    message: str | None = None
    if rank() == 0:
        try:
            result = work()
        except UserError as error:
            message = str(error)
    shared = [result, message]
    distributed.broadcast_object_list(shared, src=0)
    if shared[1] is not None:
        raise UserError(shared[1])
    return cast(T, shared[0])


def local_rank_zero_first(work: Callable[[], T]) -> T:
    """Return `work()`, called by local rank zero of each machine, then by the other ranks.

    For work whose result stays on disk. Collective over all ranks. The others wait for up to a day,
    on a separate gloo group, because NCCL times out after ten minutes, too few to decode a
    large folder.

    Raises:
        UserError: on every rank, the first error that a local rank zero raised.
    """
    if not is_distributed():
        return work()
    is_first = int(os.environ.get("LOCAL_RANK", rank())) == 0
    group = distributed.new_group(backend="gloo", timeout=timedelta(days=1))
    assert isinstance(group, distributed.ProcessGroup)
    result: T | None = None
    error: str | None = None
    try:
        if is_first:
            result = work()
    except UserError as raised:
        error = str(raised)
    errors: list[str | None] = [None] * world_size()
    distributed.all_gather_object(errors, error, group=group)
    distributed.destroy_process_group(group)
    for message in errors:
        if message is not None:
            raise UserError(message)
    return work() if result is None else result


@torch.no_grad()
def tensor_from_first_rank(tensor: Tensor) -> Tensor:
    """Overwrite a tensor on any device with rank zero's values, in place, and return it."""
    if is_distributed():
        distributed.broadcast(tensor, src=0)
    return tensor


class _GatherBatch(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, local: Tensor) -> Tensor:
        local = local.contiguous()
        parts = [torch.empty_like(local) for _ in range(world_size())]
        distributed.all_gather(parts, local)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> Tensor:
        own: Tensor = _OwnRowsOfSum.apply(grad)
        return own


class _OwnRowsOfSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, rows: Tensor) -> Tensor:
        # A copy, because autograd may pass the same buffer to other consumers.
        total = rows.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total.chunk(world_size())[rank()]

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> Tensor:
        return gather_batch(grad)


def gather_batch(local: Tensor) -> Tensor:
    """Return the rows of all ranks, in rank order; with one process, the input itself.

    Every rank then computes the same loss L of the global batch. The backward pass sums the ranks'
    gradients to world_size * dL/dz and returns to each rank its rows. DistributedDataParallel then
    averages the weights' gradients, which removes the factor: every weight's gradient equals that
    of one process on the whole batch.

    Args:
        local: (N, ...) rows of this rank; N must be the same on every rank.

    Returns:
        (world_size * N, ...), with gradients if `local` has them.
    """
    return _GatherBatch.apply(local) if is_distributed() else local
