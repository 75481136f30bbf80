"""Synchronized batch norms: three uneven gloo processes against one process."""

import pytest
import torch
from torch import multiprocessing

from tests.norms import sync_ranks
from tests.norms.sync_ranks import NAMES, RANKS, SHAPES, check_sums, step


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
    several = [found[name, shape] for found in ranks]
    check_sums(step(name, shape), several)
