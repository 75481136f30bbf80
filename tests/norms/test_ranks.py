"""Batch norms, recomputed statistics and act on three uneven gloo processes and on one."""

import pytest
import torch

from tests import warm
from tests.norms import ranks as computations
from tests.norms.ranks import NAMES, RANKS, RECOMPUTED, TWO_SHAPES, check_sums, step
from tests.norms.test_contract import SHAPES


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return warm.ranks(computations.run_rank, RANKS, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", TWO_SHAPES, ids=str)
def test_synchronized_norms_equal_one_process(ranks, name, shape):
    check_sums(step(name, shape), [found[name, shape] for found in ranks])


@pytest.mark.parametrize("spec", RECOMPUTED, ids=str)
def test_recomputed_statistics_equal_those_of_one_process(ranks, spec):
    one = computations.recomputed(spec)
    for found in ranks:
        torch.testing.assert_close(found[f"recomputed {spec}"], one, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_act_begins_with_the_moments_of_all_samples(ranks, shape):
    one = computations.started(shape)
    for found in ranks:
        torch.testing.assert_close(found[f"started {shape}"], one, rtol=1e-12, atol=1e-12)
