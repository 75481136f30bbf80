"""RMS norm against loops, and its effect on samples."""

import torch
from torch import nn

from ssl_norm.norms.layers.rms_norm import RMSNorm
from tests.norms.test_contract import CHANNELS, data


def test_of_vectors_is_torchs():
    theirs = nn.RMSNorm(CHANNELS, eps=1e-5).double()
    x = data(5, CHANNELS)
    torch.testing.assert_close(RMSNorm(CHANNELS).double()(x), theirs(x))


def test_mean_square_is_one_and_scale_cancels():
    x = data(5, CHANNELS, 3, 2)
    layer = RMSNorm(CHANNELS, eps=1e-12).double()
    y = layer(x)
    torch.testing.assert_close(y.square().mean((1, 2, 3)), torch.ones(5).double())
    torch.testing.assert_close(layer(7 * x), y)
