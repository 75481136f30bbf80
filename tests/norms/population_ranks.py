"""Computations of two gloo processes and of one for norms/batch/test_precise_bn.py."""

from pathlib import Path

import torch
from torch import distributed, nn

from ssl_norm.norms import make_norm
from ssl_norm.norms.batch.precise_bn import recompute_statistics

CHANNELS = 3
SPECS = {
    "bn": {"name": "bn"},
    "rbn": {"name": "rbn"},
    "rbn sync": {"name": "rbn", "sync": True},
    "zca": {"name": "zca", "groups": 1},
}


def build(name: str) -> nn.Module:
    """Return the norm, and a spare one that nothing calls."""
    return nn.ModuleList(
        [make_norm(SPECS[name], CHANNELS).double(), nn.BatchNorm1d(CHANNELS).double()]
    )


def data() -> list[torch.Tensor]:
    """Batches of different sizes, of which rank 0 gets every second one."""
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(size, CHANNELS, 4, generator=generator, dtype=torch.float64) + size
        for size in (5, 2, 3, 9)
    ]


def run_rank(index: int, folder: Path) -> None:
    """Recompute each norm on this rank's batches and save it."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'store'}", rank=index, world_size=2
    )
    results = {}
    for name in SPECS:
        model = build(name)
        report = recompute_statistics(model, data()[index::2], model[0])
        results[name] = model.state_dict(), report.not_called
    torch.save(results, folder / f"rank{index}.pt")
    distributed.destroy_process_group()
