from math import inf, nan
from types import SimpleNamespace

import pytest
import torch

from ssl_norm.errors import NonFiniteLoss
from ssl_norm.learners import METHODS
from ssl_norm.train import step_log
from ssl_norm.train.step_log import _SMALL, StepLog, first_non_finite, floating_tensors
from tests.learners.toy import make

GPU = pytest.param(
    "cuda",
    marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")],
)


def test_means_are_those_since_the_last_call():
    log = StepLog()
    for value in (1.0, 2.0):
        log.add(1, 4, loss=torch.tensor(value), right=torch.tensor(value / 4))
    assert log.means() == {"loss": 1.5, "right": 0.375}
    log.add(1, 4, loss=torch.tensor(5.0))
    sizes = ((), (0,), (3, 3), (100, 100))
    tensors = {str(size): torch.full(size, 3e38) for size in sizes}  # whose sum is infinite
    log.look(1, tensors | {"half": torch.full((9,), 6e4).half()})
    assert log.means() == {"loss": 5.0}


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("value", [nan, inf, -inf])
@pytest.mark.parametrize("size", [(), (5,), (_SMALL,), (_SMALL + 1,)])
def test_the_first_spoiled_tensor_is_named_by_its_step(size, value, device):
    log = StepLog()
    good, bad = torch.zeros(size, device=device), torch.zeros(size, device=device)
    bad.view(-1)[-1:] = value
    log.look(6, {"weight": good})
    log.look(7, {"weight": good, "bias": bad})
    log.look(8, {"weight": bad, "bias": bad})
    with pytest.raises(NonFiniteLoss, match=rf"^bias became {value:g} at step 7;"):
        log.means()


def test_all_ranks_end_with_the_earliest_spoiled_tensor(monkeypatch):
    def gather(found, own):
        found[:] = [(9, "bias", "inf"), own, (7, "weight", "nan")]

    monkeypatch.setattr(step_log, "is_distributed", lambda: True)
    monkeypatch.setattr(step_log, "world_size", lambda: 3)
    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    with pytest.raises(NonFiniteLoss, match=r"^weight became nan at step 7;"):
        StepLog().means()


def test_speed_counts_the_images_of_all_ranks_since_the_last_call(monkeypatch):
    times = iter([10.0, 14.0, 16.0])
    monkeypatch.setattr(step_log, "time", SimpleNamespace(perf_counter=lambda: next(times)))
    monkeypatch.setattr(step_log, "world_size", lambda: 2)
    log = StepLog()
    for _ in range(3):
        log.add(1, 8, loss=torch.tensor(1.0))
    assert (log.images_per_second(), log.images_per_second()) == (12.0, 0.0)


@pytest.mark.parametrize("name", METHODS)
def test_learners_begin_with_finite_tensors(name):
    assert first_non_finite(dict(floating_tensors(make(name).state_dict()))) is None
