"""Several gloo ranks compute the loss and every gradient of one process.

This holds for every learner with every norm that synchronizes, and for those norms if ranks share a
batch unevenly or some have no sample. A trial starts its ranks once for several learners with
random norms and options; trials have 2, 3 and 4 ranks in turn.
"""

import random
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from ssl_norm.distributed import data_parallel, rank, world_size
from ssl_norm.learners import METHODS
from ssl_norm.signature import options_of
from tests import warm
from tests.campaigns.campaign import Broken, Chance
from tests.learners.toy import make, views
from tests.norms.ranks import NAMES, TWO_SHAPES, check_sums, step

TRIALS, SAMPLE = 48, 1
CASES = 6  # learners of a trial
IMAGES = 12  # of a batch; every number of ranks divides it
STEPS = 2


def trial(chance: Chance, folder: Path) -> None:
    """Compare random cases on 2, 3 or 4 ranks, in turn, with one process."""
    ranks = 2 + chance.number % 3
    pairs = chance.sample([(method, norm) for method in METHODS for norm in NAMES], CASES)
    learners = [(method, norm, options(chance, method)) for method, norm in pairs]
    cuts = sorted(chance.choices(range(9), k=ranks - 1))
    bounds = list(pairwise((0, *cuts, 8)))
    found = warm.ranks(run_rank, ranks, folder, ranks, learners, bounds)
    for number, case in enumerate(learners):
        one = train(*case)
        for several in found:
            close = partial(torch.testing.assert_close, rtol=1e-9, atol=1e-12)
            compare(f"{case} on {ranks} ranks", close, several[number], one)
    for name in NAMES:
        for shape in TWO_SHAPES:
            parts = [several[name, shape] for several in found]
            compare(f"{name} {shape} {bounds}", check_sums, step(name, shape), parts)


def compare(case: str, check: Callable[..., None], *results: Any) -> None:
    """Raise Broken with the case where a comparison fails."""
    try:
        check(*results)
    except AssertionError as error:
        raise Broken("different", f"{case}: {error}") from error


def options(chance: random.Random, method: str) -> dict[str, Any]:
    """Return random options of a learner."""
    known = options_of(METHODS.load(method))
    values = {
        "symmetric": [True, False],
        "shuffle_keys": [True, False],
        "ema_buffers": [True, False],
    }
    chosen = {key: chance.choice(of) for key, of in values.items() if key in known}
    if chosen.get("symmetric", True):
        chosen["view_statistics"] = chance.choice(["separate", "joint"])
    return chosen


def run_rank(
    index: int, folder: Path, ranks: int, learners: list[Any], bounds: list[tuple[int, int]]
) -> None:
    """Compute all cases as one of several ranks and save them."""
    torch.set_num_threads(1)
    store = f"file://{folder / 'store'}"
    distributed.init_process_group("gloo", init_method=store, rank=index, world_size=ranks)
    results: dict[Any, Any] = {n: train(*case) for n, case in enumerate(learners)}
    for name in NAMES:
        for shape in TWO_SHAPES:
            results[name, shape] = step(name, shape, slice(*bounds[index]))
    torch.save(results, folder / f"rank{index}.pt")
    distributed.destroy_process_group()


def train(method: str, norm: str, chosen: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Train on this rank's share of a few batches; return losses and gradients."""
    learner = make(method, norm={"name": norm, "sync": True}, **chosen)
    model = data_parallel(learner)
    optimizer = torch.optim.SGD((p for p in learner.parameters() if p.requires_grad), lr=0.1)
    seen: dict[str, torch.Tensor] = {}
    for number in range(STEPS):
        torch.manual_seed(number)
        output = model(*(view.chunk(world_size())[rank()] for view in views(number, IMAGES)))
        optimizer.zero_grad()
        output.loss.backward()
        learner.after_backward(output)
        seen[f"{number} loss"] = output.loss.detach()
        for key, parameter in learner.named_parameters():
            if parameter.grad is not None:
                seen[f"{number} gradient of {key}"] = parameter.grad.clone()
        optimizer.step()
        learner.after_step((number + 1) / STEPS)
    return seen
