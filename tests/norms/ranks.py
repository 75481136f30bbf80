"""Computations of three gloo processes and of one for tests/norms/test_ranks.py."""

from contextlib import nullcontext
from functools import reduce
from itertools import pairwise
from pathlib import Path

import torch
from torch import distributed, nn

from ssl_norm.norms import NORMS, make_norm, parse_norm
from ssl_norm.norms.batch.precise_bn import recompute_statistics
from ssl_norm.norms.layers.domain_batch_norm import domain_labels
from tests.norms.test_contract import CHANNELS, SHAPES, build, data

RANKS = 3
BOUNDS = (0, 4, 5, 8)  # samples 0 to 3 on rank 0, sample 4 on rank 1, the rest on rank 2
TWO_SHAPES = ((8, CHANNELS), (8, CHANNELS, 3, 2))
ALL_OPTIONS = {name: parse_norm(name).all_options for name in NORMS}
NAMES = [n for n, o in ALL_OPTIONS.items() if "sync" in o and o["batch_size"] is None]
LABELS = torch.tensor(
    [0, 1, 0, 2, 1, 2, 0, 0]
)  # domain 1 has one sample on two ranks, and none on the third
OPTIONS = {"domain": {"domains": 3, "affine_per_domain": True}}
RECOMPUTED = ({"name": "bn"}, {"name": "rbn"}, {"name": "rbn", "sync": True}, {"name": "zca"})


def run_rank(index: int, folder: Path) -> None:
    """Compute everything as one of three ranks and save it."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'store'}", rank=index, world_size=RANKS
    )
    mine = slice(*list(pairwise(BOUNDS))[index])
    found = {(name, shape): step(name, shape, mine) for name in NAMES for shape in TWO_SHAPES}
    found |= {f"recomputed {spec}": recomputed(spec, index) for spec in RECOMPUTED}
    found |= {f"started {shape}": started(shape, index) for shape in SHAPES}
    torch.save(found, folder / f"rank{index}.pt")
    distributed.destroy_process_group()


def step(name: str, shape: tuple[int, ...], mine: slice | None = None) -> dict[str, torch.Tensor]:
    """Return output, gradients and buffers after a step on this rank's samples, or on all."""
    layer = build(name, sync=mine is not None, **OPTIONS.get(name, {}))
    mine = mine or slice(None)
    x = data(*shape)[mine].requires_grad_()
    with domain_labels(layer, LABELS[mine]) if name == "domain" else nullcontext():
        y = layer(x)
    y.backward(data(*shape, seed=1)[mine])
    found = {"y": y.detach(), "dx": x.grad, **dict(layer.named_buffers())}
    gradients = {key: p.grad for key, p in layer.named_parameters() if p.grad is not None}
    return found | {f"gradient of {key}": gradient for key, gradient in gradients.items()}


def check_sums(one: dict[str, torch.Tensor], several: list[dict[str, torch.Tensor]]) -> None:
    """Compare the step of one process with those of ranks, whose gradients add up."""
    assert len(one) >= 2
    for key, expected in one.items():
        parts = [found[key] for found in several]
        if key in ("y", "dx"):
            parts = [torch.cat(parts)]
        elif key.startswith("gradient"):
            parts = [reduce(torch.add, parts)]
        for part in parts:
            torch.testing.assert_close(part, expected, rtol=1e-10, atol=1e-12, msg=f"{key}: {part}")


def recomputed(spec: dict[str, object], first: int = 0) -> dict[str, torch.Tensor]:
    """Return the state of a norm with the statistics of batches of which a rank gets some.

    There is a spare norm that nothing calls.
    """
    model = nn.ModuleList([make_norm(spec, CHANNELS), nn.BatchNorm1d(CHANNELS)]).double()
    batches = [data(size, CHANNELS, 4, seed=size) + size for size in (5, 2, 3, 9, 4, 2)]
    mine = batches[first::RANKS] if distributed.is_initialized() else batches
    report = recompute_statistics(model, mine, model[0])
    assert report.not_called == ("1",)
    return model.state_dict()


def started(shape: tuple[int, ...], rank: int | None = None) -> dict[str, torch.Tensor]:
    """Return the state of act after the rank's uneven share of its first batch, or after all."""
    layer, x = make_norm("act", CHANNELS).double(), data(*shape)
    layer(x if rank is None else x.split([2, 1, 2])[rank])
    return layer.state_dict()
