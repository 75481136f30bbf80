"""Instance norm against loops, torch and group norm."""

import pytest
import torch
from torch import nn

from ssl_norm.norms.layers.group_norm import GroupNorm
from ssl_norm.norms.layers.instance_norm import InstanceNorm
from tests.norms.test_contract import CHANNELS, SHAPES, build, data
from tests.reference import sample_norms as reference


@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_equals_loops(shape):
    layer, x = build("in"), data(*shape)
    numbers = {key: value.detach().numpy() for key, value in layer.named_parameters()}
    expected = reference.instance_norm(x.reshape(5, CHANNELS, -1).numpy(), **numbers)
    torch.testing.assert_close(
        layer(x).detach().numpy(), expected.reshape(shape), rtol=1e-12, atol=1e-12
    )


def test_is_torchs_and_group_norm_of_single_channels():
    x = data(5, CHANNELS, 3, 2)
    y = InstanceNorm(CHANNELS, eps=1e-3, affine=False)(x)
    torch.testing.assert_close(y, nn.InstanceNorm2d(CHANNELS, eps=1e-3)(x))
    torch.testing.assert_close(y, GroupNorm(CHANNELS, groups=CHANNELS, eps=1e-3, affine=False)(x))


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 1), (5, 6, 1, 1)], ids=str)
def test_one_value_per_channel(shape):
    with pytest.raises(ValueError, match=r"has one value per channel of a sample.* such as ln"):
        InstanceNorm(6)(torch.randn(shape))


def test_large_means_cost_no_digits():
    x = data(4, CHANNELS, 8, 8) + 2000
    y = InstanceNorm(CHANNELS)(x.float())
    expected = InstanceNorm(CHANNELS).double()(x.float().double())
    torch.testing.assert_close(y.double(), expected, rtol=1e-3, atol=1e-3)


def test_shows_its_options():
    assert repr(InstanceNorm(6, affine=False)) == "InstanceNorm(6, eps=1e-05, affine=False)"
