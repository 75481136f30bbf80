from math import inf, nan

import pytest
import torch

from ssl_norm.errors import NonFiniteLoss
from ssl_norm.learners import METHODS
from ssl_norm.train.checkpoint import load_checkpoint, save_checkpoint
from ssl_norm.train.finite import FiniteWatch, first_non_finite, floating_tensors
from tests.learners.toy import make

GPU = pytest.param(
    "cuda",
    marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")],
)


def test_finite_tensors_of_any_size_pass():
    watch = FiniteWatch()
    sizes = ((), (0,), (3, 3), (100, 100))
    tensors = {str(size): torch.full(size, 3e38) for size in sizes}  # whose sum is infinite
    watch.look(1, tensors | {"half": torch.full((9,), 6e4).half()})
    watch.check()


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("value", [nan, inf, -inf])
@pytest.mark.parametrize("size", [(), (5,), (100, 100)])
def test_the_first_spoiled_tensor_is_named_by_its_step(size, value, device):
    watch = FiniteWatch()
    good, bad = torch.zeros(size, device=device), torch.zeros(size, device=device)
    bad.view(-1)[-1:] = value
    watch.look(6, {"weight": good})
    watch.look(7, {"weight": good, "bias": bad})
    watch.look(8, {"weight": bad, "bias": bad})
    with pytest.raises(NonFiniteLoss, match=rf"^bias became {value:g} at step 7;"):
        watch.check()


@pytest.mark.parametrize("key", ["learner", "optimizer", "monitor"])
def test_a_checkpoint_with_a_spoiled_tensor_anywhere_is_not_written(tmp_path, key):
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"step": 1})
    state = {"state": [{"momentum": torch.tensor([1.0, nan])}], "step": torch.tensor(3)}
    with pytest.raises(NonFiniteLoss, match=rf"^{key}\.state\.0\.momentum became nan; .*last\.pt"):
        save_checkpoint(path, {"step": 2, key: state})
    assert load_checkpoint(path)["step"] == 1


@pytest.mark.parametrize("name", METHODS)
def test_learners_begin_with_finite_tensors(name):
    assert first_non_finite(dict(floating_tensors(make(name).state_dict()))) is None
