"""Filter response norm against loops and timm."""

import pytest
import torch
from timm.layers import FilterResponseNormTlu2d

from ssl_norm.norms.layers.filter_response_norm import FilterResponseNorm
from tests.norms.test_contract import CHANNELS, SHAPES, build, data
from tests.reference import sample_norms as reference


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("threshold", [True, False])
def test_equals_loops(shape, threshold):
    layer, x = build("frn", threshold=threshold), data(*shape)
    numbers = {key: value.detach().numpy() for key, value in layer.named_parameters()}
    expected = reference.filter_response_norm(x.reshape(5, CHANNELS, -1).numpy(), **numbers)
    found = layer(x).detach().numpy()
    torch.testing.assert_close(found, expected.reshape(shape), rtol=1e-12, atol=1e-12)


def test_is_timms():
    ours, theirs = build("frn", torch.float32, eps=1e-5), FilterResponseNormTlu2d(CHANNELS)
    state = {name.replace("threshold", "tau"): value for name, value in ours.state_dict().items()}
    theirs.load_state_dict(state)
    x = data(5, CHANNELS, 3, 2, dtype=torch.float32)
    torch.testing.assert_close(ours(x), theirs(x))


def test_starts_as_relu_of_the_normalized():
    x = data(5, CHANNELS, 3, 2)
    plain = FilterResponseNorm(CHANNELS, threshold=False)(x)
    torch.testing.assert_close(FilterResponseNorm(CHANNELS)(x), plain.relu())


def test_of_vectors_is_the_sign():
    x = data(5, CHANNELS)
    y = FilterResponseNorm(CHANNELS, threshold=False)(x)
    torch.testing.assert_close(y, x.sign(), rtol=0, atol=1e-3)


def test_owns_what_it_is_told():
    layer = FilterResponseNorm(6, affine=False)
    assert [name for name, _ in layer.named_parameters()] == ["threshold"]
    assert repr(layer) == "FilterResponseNorm(6, eps=1e-06, affine=False, threshold=True)"
    assert not list(FilterResponseNorm(6, affine=False, threshold=False).parameters())
