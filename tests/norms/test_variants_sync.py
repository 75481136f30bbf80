"""Synchronized variants of batch norm: two ranks with uneven batches equal one process."""

import pytest
import torch
from torch import multiprocessing

from tests.norms import variant_ranks


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    multiprocessing.start_processes(
        variant_ranks.run_rank, args=(folder,), nprocs=2, start_method="spawn"
    )
    return [torch.load(folder / f"rank{index}.pt") for index in range(2)]


@pytest.mark.parametrize("name", variant_ranks.SPECS)
def test_two_ranks_equal_one_process(ranks, name):
    for key, expected in variant_ranks.steps(name, slice(None)).items():
        first, second = (results[name][key] for results in ranks)
        if key.startswith("same"):
            torch.testing.assert_close(first, second, rtol=0, atol=0)
            found = first
        else:
            found = torch.cat([first, second]) if key.startswith("rows") else first + second
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
