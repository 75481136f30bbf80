"""What two gloo processes and a single one compute for tests/norms/test_variants_sync.py."""

from contextlib import nullcontext
from pathlib import Path

import torch
from torch import distributed, nn

from ssl_norm.norms import make_norm
from ssl_norm.norms.domain_batch_norm import domain_labels
from ssl_norm.norms.unsupervised_batch_norm import joint_statistics

CHANNELS, SAMPLES = 3, (5, 2)
LABELS = torch.tensor([1, 0, 2, 0, 1, 1, 0])  # no sample of domain 2 on rank 1
EARLY = {"warmup_steps": 0, "r_ramp_steps": 2, "d_ramp_steps": 2}
SPECS = {
    "brn": {"name": "brn", **EARLY},
    "domain": {"name": "domain", "domains": 3, "affine_per_domain": True},
    "domain, shared": {"name": "domain", "domains": 3, "shared_statistics": True},
    "ubn": {"name": "ubn"},
    "switch": {"name": "switch"},
    "evonorm-b0": {"name": "evonorm-b0"},
}


def data(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(sum(SAMPLES), CHANNELS, 4, generator=generator, dtype=torch.float64)
    return values + torch.arange(7.0, dtype=torch.float64).view(-1, 1, 1)


def context(layer: nn.Module, name: str, x: torch.Tensor, own: slice):
    if name.startswith("domain"):
        return domain_labels(layer, LABELS[own])
    return joint_statistics(layer, 3 * x) if name == "ubn" else nullcontext()


def steps(name: str, own: slice) -> dict[str, torch.Tensor]:
    """Pass two batches, of which `own` are this process's samples; return all that came of it."""
    layer = make_norm({**SPECS[name], "sync": True}, CHANNELS).double()
    seen = {}
    for step in range(2):
        x = data(step)[own].requires_grad_()
        with context(layer, name, x.detach(), own):
            y = layer(x)
        (y * data(step + 10)[own]).sum().backward()
        seen |= {f"rows {step} y": y.detach(), f"rows {step} dx": x.grad}
    gradients = {f"sum {key}": parameter.grad for key, parameter in layer.named_parameters()}
    return seen | gradients | {f"same {key}": value for key, value in layer.named_buffers()}


def run_rank(index: int, folder: Path) -> None:
    """Compute everything as one of two ranks and save it."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'store'}", rank=index, world_size=2
    )
    own = slice(0, SAMPLES[0]) if index == 0 else slice(SAMPLES[0], None)
    torch.save({name: steps(name, own) for name in SPECS}, folder / f"rank{index}.pt")
    distributed.destroy_process_group()
