"""Computations of two gloo processes and a single one for tests/test_distributed.py."""

import os
import time
from pathlib import Path

import pytest
import torch
from torch import distributed

from ssl_norm.distributed import (
    data_parallel,
    gather_batch,
    is_distributed,
    local_rank_zero_first,
    rank,
    world_size,
)
from ssl_norm.errors import UserError
from ssl_norm.train.loop import freeze_batch_norms
from tests.learners.toy import make, views, with_ghost_batches
from tests.monitors.foreign_loop import train_and_watch

STEPS, GLOBAL_BATCH = 3, 8
CASES = {
    "byol": ("byol", {}),
    "byol joint": ("byol", {"view_statistics": "joint"}),
    "simclr": ("simclr", {}),
    "moco_v2": ("moco_v2", {}),
    "moco_v2 symmetric": ("moco_v2", {"symmetric": True, "ema_schedule": "cosine"}),
    "moco_v2 joint": ("moco_v2", {"symmetric": True, "view_statistics": "joint"}),
    "moco_v2 joint domain": (
        "moco_v2",
        {"symmetric": True, "view_statistics": "joint", "norm": {"name": "domain", "sync": True}},
    ),
    "moco_v2 bn": ("moco_v2", {"norm": "bn"}),
    "moco_v2 bn symmetric": ("moco_v2", {"norm": "bn", "symmetric": True}),
}


def run_rank(index: int, folder: Path) -> None:
    """Compute everything as one of two ranks and save it."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'store'}", rank=index, world_size=2
    )
    results = {name: train(name) for name in CASES} | {
        "gather": gather(),
        "freeze": freeze(),
        "foreign loop": train_and_watch(),
        "first": first(folder),
    }
    torch.save(results, folder / f"rank{index}.pt")
    distributed.destroy_process_group()


def first(folder: Path) -> tuple[str, str]:
    """Return the result of rank zero, which works before the other, and its error on both."""
    os.environ["LOCAL_RANK"] = str(rank())

    def work() -> str:
        if rank() == 0:
            time.sleep(0.5)
            (folder / "done").write_text("by the first")
        return (folder / "done").read_text()

    def fail() -> None:
        assert rank() == 0
        raise UserError("the first failed")

    found = local_rank_zero_first(work)
    with pytest.raises(UserError) as failed:
        local_rank_zero_first(fail)
    return found, str(failed.value)


def gather() -> dict[str, torch.Tensor]:
    """Gather two rows per rank; each rank then has a separate loss."""
    local = torch.arange(4.0).view(2, 2).T + 10 * rank()  # not contiguous
    local.requires_grad_()
    rows = gather_batch(local)
    upstream = torch.arange(8.0).view(4, 2) * (1 + rank())
    before = upstream.clone()
    rows.backward(upstream)
    return {
        "rows": rows.detach(),
        "grad": local.grad,
        "upstream unchanged": torch.tensor(torch.equal(upstream, before)),
        "place": torch.tensor([rank(), world_size()]),
    }


def freeze() -> dict[str, torch.Tensor]:
    """Freeze statistics that differ by rank; return them."""
    learner = make("byol", norm="bn")
    for buffer in learner.buffers():
        buffer.fill_(5 + rank())
    freeze_batch_norms(learner)
    learner(*views())
    return dict(learner.named_buffers())


def train(name: str) -> dict[str, torch.Tensor]:
    """Train a learner on this rank's share of a few batches; return losses, gradients and states.

    A single process has the batch statistics of the two ranks in two ghost batches.
    """
    method, options = CASES[name]
    learner = make(method, **options)
    model = data_parallel(learner)
    if not is_distributed():
        with_ghost_batches(learner, GLOBAL_BATCH // 2)
    optimizer = torch.optim.SGD((p for p in learner.parameters() if p.requires_grad), lr=0.5)
    seen: dict[str, torch.Tensor] = {}
    for step in range(STEPS):
        batch = (view.chunk(world_size())[rank()] for view in views(step, GLOBAL_BATCH))
        optimizer.zero_grad()
        torch.manual_seed(
            10 * rank() + step
        )  # as in training; rank zero uses the seed of one process
        output = model(*batch)
        output.loss.backward()
        learner.after_backward(output)
        seen[f"{step} loss"] = output.loss.detach()
        for number, (online, target) in enumerate(output.pairs):
            seen[f"{step} pair {number} online"], seen[f"{step} pair {number} target"] = (
                online,
                target,
            )
        for parameter_name, parameter in learner.named_parameters():
            if parameter.grad is not None:
                seen[f"{step} gradient of {parameter_name}"] = parameter.grad.clone()
        optimizer.step()
        learner.after_step((step + 1) / STEPS)
    final = {key: value for key, value in learner.state_dict().items() if ".running_" not in key}
    final = {key: value for key, value in final.items() if "num_batches_tracked" not in key}
    return seen | {f"final {key}": value for key, value in final.items()}
