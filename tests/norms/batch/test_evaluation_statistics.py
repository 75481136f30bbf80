import copy

import pytest
import torch
from torch import nn

from ssl_norm.norms import NORMS, make_norm
from ssl_norm.norms.batch.evaluation_statistics import batch_statistics_at_evaluation
from ssl_norm.norms.batch.freezing import freeze_statistics

CHANNELS = 4
OPTIONS = {"zca": {"groups": 2}, "iternorm": {"groups": 2}, "gn": {"groups": 2}}
OTHER_POLICIES = ("act", "brn", "domain")  # whose training is more than the batch's statistics


def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(8, CHANNELS, 3, 2, generator=generator, dtype=torch.float64) + 5


@pytest.mark.parametrize("name", [name for name in NORMS if name not in OTHER_POLICIES])
def test_evaluates_as_in_training_and_moves_nothing(name):
    layer = make_norm({"name": name, **OPTIONS.get(name, {})}, CHANNELS).double()
    expected = copy.deepcopy(layer).train()(batch())
    state = copy.deepcopy(layer.eval().state_dict())
    before = layer(batch())
    with batch_statistics_at_evaluation(layer):
        torch.testing.assert_close(layer.eval()(batch()), expected)
    assert all(torch.equal(value, state[key]) for key, value in layer.state_dict().items())
    assert layer.state_dict().keys() == state.keys()
    assert torch.equal(layer(batch()), before)


def test_torch_layers_in_a_model_with_dropout():
    model = nn.Sequential(nn.BatchNorm2d(CHANNELS), nn.Dropout(0.5)).double().eval()
    with batch_statistics_at_evaluation(model):
        y = model(batch())
    assert y.mean((0, 2, 3)).abs().max() < 1e-12
    assert (model[0].running_mean == 0).all()


def test_undone_after_an_error_and_frozen_layers_left_alone():
    model = nn.Sequential(nn.BatchNorm2d(CHANNELS), make_norm("rbn", CHANNELS)).double().eval()
    freeze_statistics(model[0])
    statistics = model[0].running_mean

    def break_off():
        with batch_statistics_at_evaluation(model):
            assert model[0].running_mean is statistics
            assert model[1].evaluation == "batch"
            raise RuntimeError("broken off")

    with pytest.raises(RuntimeError, match="broken off"):
        break_off()
    assert model[1].evaluation == "population"
