"""Communication between ranks, and copies to a GPU; a single process needs no process group."""

import os
from collections.abc import Callable
from datetime import timedelta
from inspect import signature
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import FunctionCtx
from torch.nn.parallel import DistributedDataParallel

from ssl_norm.errors import UserError

T = TypeVar("T")
_alone = False  # whether this process works alone while the other ranks wait


def is_distributed() -> bool:
    """Return True if a process group has more than one rank."""
    return world_size() > 1


def rank() -> int:
    """Return the rank of this process; 0 without a process group."""
    return distributed.get_rank() if is_distributed() else 0


def world_size() -> int:
    """Return the number of processes; 1 without a process group."""
    exists = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if exists and not _alone else 1


def from_first_rank(work: Callable[[], T], group: distributed.ProcessGroup | None = None) -> T:
    """Call `work` on rank zero and return its result, plain values or CPU tensors, on every rank.

    It must take less time than the timeout of the group. If it raises UserError or OSError, every
    rank raises UserError.
    """
    if not is_distributed():
        return work()
    shared: list[Any] = [None, None]  # result and message of an error
    if rank() == 0:
        try:
            shared[0] = work()
        except (UserError, OSError) as error:
            shared[1] = str(error)
    distributed.broadcast_object_list(shared, src=0, group=group)
    if shared[1] is not None:
        raise UserError(shared[1])
    return cast(T, shared[0])


def only_on_first_rank(work: Callable[[], None]) -> None:
    """Call `work` on rank zero as a single process; the other ranks wait, for up to a day.

    If it raises UserError or OSError, every rank raises UserError.
    """

    def work_alone() -> None:
        global _alone
        _alone = True
        try:
            work()
        finally:
            _alone = False

    group = _patient_group() if is_distributed() else None
    from_first_rank(work_alone, group)


def _patient_group() -> distributed.ProcessGroup:
    """Return a gloo group of all ranks with a timeout of a day; that of NCCL is ten minutes."""
    group = distributed.new_group(backend="gloo", timeout=timedelta(days=1))
    assert isinstance(group, distributed.ProcessGroup)
    return group


def local_rank_zero_first(work: Callable[[], T]) -> T:
    """Return `work()`, which local rank zero of each machine calls first, then the other ranks.

    It is for work whose result stays on disk, such as decoding a large folder. All ranks must call
    it, and wait for up to a day. If local rank zero of a machine raises UserError, all ranks do.
    """
    if not is_distributed():
        return work()
    group = _patient_group()
    result: T | None = None
    error = ""
    if int(os.environ.get("LOCAL_RANK", rank())) == 0:
        try:
            result = work()
        except UserError as raised:
            error = str(raised)
    errors = [""] * world_size()
    distributed.all_gather_object(errors, error, group=group)
    distributed.destroy_process_group(group)
    if any(errors):
        raise UserError(next(filter(None, errors)))
    return work() if result is None else result


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on the device; the CPU does not wait for the copy to a GPU.

    The tensor is pinned first, because a copy from pageable memory waits for all pending work of
    the GPU.
    """
    if device.type != "cuda" or not tensor.is_cpu:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


class HostCopy:
    """Copy of a tensor to the CPU, which goes on while a GPU works; `read` waits until it is done.

    A tensor of the CPU is not copied.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._done: torch.Event | None = None
        self._copy = tensor
        if not tensor.is_cpu:
            self._copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
            self._copy.copy_(tensor, non_blocking=True)
            self._done = torch.Event(tensor.device.type)
            self._done.record()

    def read(self) -> Tensor:
        """Return the copy."""
        if self._done is not None:
            self._done.synchronize()
            self._done = None
        return self._copy


@torch.no_grad()
def tensor_from_first_rank(tensor: Tensor) -> Tensor:
    """Overwrite a tensor on any device with rank zero's values, in place, and return it."""
    if is_distributed():
        distributed.broadcast(tensor, src=0)
    return tensor


def data_parallel(network: nn.Module) -> nn.Module:
    """Return a network whose gradients are averaged over ranks; buffers are not shared."""
    if not is_distributed():
        return network
    names = ("forward_sync_buffers", "broadcast_buffers")  # torch 2.14, else an older one
    known = signature(DistributedDataParallel).parameters
    options: dict[str, Any] = {next(name for name in names if name in known): False}
    return DistributedDataParallel(network, **options)


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
        # Copy, because autograd may pass the same buffer to other consumers.
        total = rows.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total.chunk(world_size())[rank()]

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> Tensor:
        return gather_batch(grad)


def gather_batch(local: Tensor) -> Tensor:
    """Return the rows of all ranks, in rank order; with one process, the input itself.

    Every rank computes the same loss L of the global batch from the result. The backward pass sums
    the gradients of the ranks to world_size * dL/dz and returns its rows to each rank.
    DistributedDataParallel then averages the gradients of weights, which removes the factor, so
    each is the gradient of one process on the whole batch.

    `local` is (N, ...) with the same N on every rank; the result is (world_size * N, ...).
    """
    return _GatherBatch.apply(local) if is_distributed() else local
