from math import inf, nan

import pytest
import torch

from ssl_norm.errors import NonFiniteLoss
from ssl_norm.learners import METHODS
from ssl_norm.train.step_log import StepLog, first_non_finite, floating_tensors
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
@pytest.mark.parametrize("size", [(), (5,), (100, 100)])
def test_the_first_spoiled_tensor_is_named_by_its_step(size, value, device):
    log = StepLog()
    good, bad = torch.zeros(size, device=device), torch.zeros(size, device=device)
    bad.view(-1)[-1:] = value
    log.look(6, {"weight": good})
    log.look(7, {"weight": good, "bias": bad})
    log.look(8, {"weight": bad, "bias": bad})
    with pytest.raises(NonFiniteLoss, match=rf"^bias became {value:g} at step 7;"):
        log.means()


@pytest.mark.parametrize("name", METHODS)
def test_learners_begin_with_finite_tensors(name):
    assert first_non_finite(dict(floating_tensors(make(name).state_dict()))) is None
