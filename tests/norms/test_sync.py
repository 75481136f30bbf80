"""Synchronized batch norms: three uneven gloo processes against one process."""

from functools import reduce

import pytest
import torch
from torch import multiprocessing

from tests.norms import sync_ranks
from tests.norms.sync_ranks import NAMES, RANKS, SHAPES, step


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    multiprocessing.start_processes(
        sync_ranks.run_rank, args=(folder,), nprocs=RANKS, start_method="spawn"
    )
    return [torch.load(folder / f"rank{index}.pt") for index in range(RANKS)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_uneven_ranks_equal_one_process(ranks, name, shape):
    one, several = step(name, shape, sync=False), [found[name, shape] for found in ranks]
    assert len(one) >= 2
    for key, expected in one.items():
        parts = [found[key] for found in several]
        if key in ("y", "dx"):
            parts = [torch.cat(parts)]
        elif key.startswith("gradient"):
            parts = [reduce(torch.add, parts)]
        for part in parts:
            torch.testing.assert_close(part, expected, rtol=1e-10, atol=1e-12, msg=f"{key}: {part}")
