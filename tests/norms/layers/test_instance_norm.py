"""Instance norm against loops, torch and group norm."""

import pytest
import torch
from torch import nn

from ssl_norm.norms.layers.group_norm import GroupNorm
from ssl_norm.norms.layers.instance_norm import InstanceNorm
from tests.norms.test_contract import CHANNELS, data


def test_is_torchs_and_group_norm_of_single_channels():
    x = data(5, CHANNELS, 3, 2)
    y = InstanceNorm(CHANNELS, eps=1e-3, affine=False)(x)
    torch.testing.assert_close(y, nn.InstanceNorm2d(CHANNELS, eps=1e-3)(x))
    torch.testing.assert_close(y, GroupNorm(CHANNELS, groups=CHANNELS, eps=1e-3, affine=False)(x))


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 1), (5, 6, 1, 1)], ids=str)
def test_one_value_per_channel(shape):
    with pytest.raises(ValueError, match=r"has one value per channel of a sample.* such as ln"):
        InstanceNorm(6)(torch.randn(shape))
