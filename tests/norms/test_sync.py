"""Synchronized batch norms: three uneven gloo processes against one process."""

import pytest

from tests import warm
from tests.norms import sync_ranks
from tests.norms.sync_ranks import NAMES, RANKS, SHAPES, check_sums, step


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return warm.ranks(sync_ranks.run_rank, RANKS, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_uneven_ranks_equal_one_process(ranks, name, shape):
    several = [found[name, shape] for found in ranks]
    check_sums(step(name, shape), several)
