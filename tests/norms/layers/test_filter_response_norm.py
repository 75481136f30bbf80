"""Filter response norm against loops and timm."""

import torch
from timm.layers import FilterResponseNormTlu2d

from ssl_norm.norms.layers.filter_response_norm import FilterResponseNorm
from tests.norms.test_contract import CHANNELS, build, data


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
