import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ssl_norm.norms.layers.weight_standardization import (
    plain_weights,
    standardize_weights,
    standardized_weight,
)
from tests.reference import norms as reference

LAYERS = [
    (lambda: nn.Conv1d(4, 6, 3, groups=2, padding=1), (2, 4, 5)),
    (lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1, padding_mode="reflect"), (2, 4, 5, 5)),
    (lambda: nn.Conv3d(4, 6, 2, dilation=2), (2, 4, 5, 5, 5)),
    (lambda: nn.Linear(4, 6), (2, 4)),
]
each_layer = pytest.mark.parametrize(("make", "shape"), LAYERS, ids=["1d", "2d", "3d", "linear"])


@each_layer
def test_equals_loops(make, shape):
    layer = make().double()
    weight = layer.weight.detach().clone()
    plain = make().double()
    expected = reference.standardized_weight(weight)
    plain.load_state_dict({"weight": expected, "bias": layer.bias.detach()})
    x = torch.randn(shape, dtype=torch.float64)
    torch.testing.assert_close(standardize_weights(layer)(x), plain(x), rtol=1e-12, atol=1e-12)
    assert torch.equal(layer.weight, weight)


@each_layer
def test_changes_nothing_but_the_forward_pass(make, shape):
    layer = make().eval()
    calls = []
    layer.register_forward_hook(lambda *_: calls.append(1))
    parameters = dict(layer.named_parameters())
    assert standardize_weights(layer) is layer
    assert standardize_weights(layer) is layer
    layer(torch.randn(shape))
    assert calls == [1]
    assert not layer.training
    assert all(parameter is parameters[name] for name, parameter in layer.named_parameters())
    assert list(layer.state_dict()) == ["weight", "bias"]


def test_gradient_and_dtype():
    weight = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(standardized_weight, weight)
    assert standardized_weight(weight.bfloat16()).dtype == torch.bfloat16
    equal = torch.full((2, 4), 0.3, requires_grad=True)
    standardized_weight(equal).sum().backward()
    assert torch.isfinite(equal.grad).all()


def test_trains_under_autocast():
    layer = standardize_weights(nn.Conv2d(4, 6, 3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(torch.randn(2, 4, 5, 5))
    y.float().sum().backward()
    assert y.dtype == torch.bfloat16
    assert layer.weight.grad.dtype == torch.float32


def test_timms_convolutions():
    from timm.layers import Conv2dSame, StdConv2d

    layer = Conv2dSame(4, 6, 3, stride=2).double()
    plain = Conv2dSame(4, 6, 3, stride=2).double()
    weight = standardized_weight(layer.weight).detach()
    plain.load_state_dict({"weight": weight, "bias": layer.bias})
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    raw = layer.weight
    standardize_weights(layer)
    for other in (layer, pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)):
        torch.testing.assert_close(other(x), plain(x))
    assert layer.weight is raw
    assert type(plain_weights(layer)) is Conv2dSame
    already = StdConv2d(4, 6, 3)
    assert type(plain_weights(standardize_weights(already))) is StdConv2d


@each_layer
def test_plain_again(make, shape):
    layer, x = make(), torch.randn(shape)
    expected = layer(x)
    assert torch.equal(plain_weights(standardize_weights(layer))(x), expected)
    assert type(plain_weights(layer)) is type(make())


class Scaled(nn.Conv2d):
    def forward(self, x):
        return 2 * F.conv2d(x, self.weight, self.bias)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Scaled(3, 4, 1), "Conv1d, Conv2d, Conv3d, Linear, not of Scaled"),
        (nn.ConvTranspose2d(3, 4, 1), "not of ConvTranspose2d"),
        (nn.ReLU(), "not of ReLU"),
        (nn.Conv2d(4, 4, 1, groups=4), r"shape \(4, 1, 1, 1\) have a fan-in of one"),
        (nn.Linear(1, 4), "fan-in of one"),
    ],
)
def test_refuses(layer, message):
    with pytest.raises(ValueError, match=message):
        standardize_weights(layer)
