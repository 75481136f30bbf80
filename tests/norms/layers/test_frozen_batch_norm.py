"""Frozen batch norm: its statistics are constants from the checkpoint."""

import copy

import torch
from torch import nn

from ssl_norm.norms.layers.frozen_batch_norm import FrozenBatchNorm
from tests.norms.test_contract import CHANNELS, data


def trained_batch_norm():
    layer = nn.BatchNorm2d(CHANNELS).double()
    nn.init.uniform_(layer.weight)
    for seed in range(3):
        layer(data(5, CHANNELS, 3, 2, seed=seed))
    return layer.eval()


def test_loads_a_batch_norm_and_never_moves():
    theirs, ours = trained_batch_norm(), FrozenBatchNorm(CHANNELS).double().train()
    ours.load_state_dict(theirs.state_dict())
    before = copy.deepcopy(ours.state_dict())
    x = data(5, CHANNELS, 3, 2, seed=9)
    torch.testing.assert_close(ours(x), theirs(x))
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())
