"""RMS norm against loops, and what it does to samples."""

import pytest
import torch
from torch import nn

from ssl_norm.norms.layers.rms_norm import RMSNorm
from tests.norms.test_contract import CHANNELS, SHAPES, build, data
from tests.reference import sample_norms as reference


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_loops(shape):
    layer, x = build("rms"), data(*shape)
    weight = layer.weight.detach().numpy()
    expected = reference.rms_norm(x.reshape(5, CHANNELS, -1).numpy(), weight).reshape(shape)
    torch.testing.assert_close(layer(x).detach().numpy(), expected, rtol=1e-12, atol=1e-12)


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


def test_owns_a_gain_alone():
    assert [name for name, _ in RMSNorm(6).named_parameters()] == ["weight"]
    assert not list(RMSNorm(6, affine=False).parameters())
    assert repr(RMSNorm(6)) == "RMSNorm(6, eps=1e-05, affine=True)"
