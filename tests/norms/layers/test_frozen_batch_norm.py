"""Frozen batch norm: constants, those of the checkpoint."""

import copy

import pytest
import torch
from torch import nn

from ssl_norm.norms.layers.frozen_batch_norm import FrozenBatchNorm
from tests.norms.test_contract import CHANNELS, SHAPES, build, data
from tests.reference import batch_norms as reference


def trained_batch_norm():
    layer = nn.BatchNorm2d(CHANNELS).double()
    nn.init.uniform_(layer.weight)
    for seed in range(3):
        layer(data(5, CHANNELS, 3, 2, seed=seed))
    return layer.eval()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_loops(shape):
    layer, x = build("frozen"), data(*shape)
    layer.running_mean.copy_(torch.arange(CHANNELS))
    layer.running_var.copy_(torch.arange(CHANNELS) + 0.5)
    numbers = {
        name: value.detach().numpy()
        for name, value in layer.state_dict().items()
        if name != "num_batches_tracked"
    }
    expected = reference.frozen_batch_norm(x.reshape(5, CHANNELS, -1).numpy(), **numbers)
    found = layer(x).detach().numpy()
    torch.testing.assert_close(found, expected.reshape(shape), rtol=1e-12, atol=1e-12)


def test_loads_a_batch_norm_and_never_moves():
    theirs, ours = trained_batch_norm(), FrozenBatchNorm(CHANNELS).double().train()
    ours.load_state_dict(theirs.state_dict())
    before = copy.deepcopy(ours.state_dict())
    x = data(5, CHANNELS, 3, 2, seed=9)
    torch.testing.assert_close(ours(x), theirs(x))
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())


def test_weight_and_bias_learn():
    layer = FrozenBatchNorm(CHANNELS)
    layer(data(5, CHANNELS, dtype=torch.float32)).square().sum().backward()
    assert layer.weight.grad.abs().min() > 0
    assert layer.bias.grad.abs().min() > 0
    assert repr(layer) == "FrozenBatchNorm(6, eps=1e-05, affine=True)"
