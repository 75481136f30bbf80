"""Two gloo processes with half a batch each, compared with one process.

A plain batch norm has statistics per rank, so its results differ by design, unless the one process
uses ghost batches. Then only the running statistics differ.
"""

import pytest
import torch

from ssl_norm.distributed import (
    gather_batch,
    is_distributed,
    local_rank_zero_first,
    rank,
    world_size,
)
from ssl_norm.monitors import LayerRow
from tests import two_ranks, warm
from tests.monitors.foreign_loop import BATCH, STEPS, train_and_watch

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return warm.ranks(two_ranks.run_rank, 2, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("case", two_ranks.CASES)
def test_learner_on_two_ranks_equals_one_process(ranks, case):
    one = two_ranks.train(case)
    assert any(key.startswith("2 gradient") for key in one)
    for several in (results[case] for results in ranks):
        assert several.keys() == one.keys()
        for key, value in one.items():
            torch.testing.assert_close(
                several[key], value, rtol=1e-10, atol=1e-14, msg=lambda m, key=key: f"{key}: {m}"
            )


def test_gathered_rows_are_in_rank_order(ranks):
    expected = torch.tensor([[0.0, 2.0], [1.0, 3.0], [10.0, 12.0], [11.0, 13.0]])
    for index, results in enumerate(ranks):
        assert torch.equal(results["gather"]["rows"], expected)
        assert results["gather"]["place"].tolist() == [index, 2]


def test_gradients_of_all_ranks_are_summed(ranks):
    total = torch.arange(8.0).view(4, 2) * (1 + 2)
    for index, results in enumerate(ranks):
        assert torch.equal(results["gather"]["grad"], total.chunk(2)[index])
        assert results["gather"]["upstream unchanged"]


def test_ranks_freeze_at_the_statistics_of_rank_zero(ranks):
    for results in ranks:
        assert len(results["freeze"]) > 0
        assert all((buffer == 5).all() for buffer in results["freeze"].values())


@pytest.fixture(scope="module")
def watched_alone():
    return train_and_watch()


def test_monitored_loop_on_two_ranks_equals_one_process(ranks, watched_alone):
    one = watched_alone
    assert one["verdict"] != "uncertain"
    for several in (results["foreign loop"] for results in ranks):
        assert several["values"] == pytest.approx(one["values"], rel=1e-6, nan_ok=True)
        assert (several["verdict"], several["evidence"]) == (one["verdict"], one["evidence"])
        for found, expected in zip(several["snapshots"], one["snapshots"], strict=True):
            assert found == (
                expected[0],
                *(pytest.approx(values, rel=1e-6, abs=1e-12) for values in expected[1:]),
            )


def test_layer_rows_are_per_rank_with_common_gradients(ranks, watched_alone):
    one = [LayerRow(*row) for row in watched_alone["layers"]]
    assert {row.step for row in one} == {1, 2, STEPS}
    assert {"encoder.layer4", "projector.2", "predictor.0"} <= {row.layer for row in one}
    for results in ranks:
        several = [LayerRow(*row) for row in results["foreign loop"]["layers"]]
        for found, expected in zip(several, one, strict=True):
            assert (found.step, found.layer) == (expected.step, expected.layer)
            assert found.gradient_norm == pytest.approx(expected.gradient_norm, rel=1e-6)
            assert 1 <= found.rank_me <= BATCH / 2 + 1e-4


def test_other_ranks_wait_for_the_first_and_share_its_error(ranks):
    assert [results["first"] for results in ranks] == [("by the first", "the first failed")] * 2


def test_one_process_without_a_group():
    assert local_rank_zero_first(lambda: 5) == 5
    x = torch.randn(3, 2)
    assert gather_batch(x) is x
    assert (is_distributed(), rank(), world_size()) == (False, 0, 1)
