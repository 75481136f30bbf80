"""EvoNorms against loops and timm, whose classes take only float32 images."""

import pytest
import torch
from timm.layers import EvoNorm2dB0, EvoNorm2dS0

from ssl_norm.norms.layers.evonorm import EvoNormB0, EvoNormS0
from tests.norms.test_contract import CHANNELS, SHAPES, build, data

each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def numbers_of(layer):
    numbers = {name: value.detach().numpy() for name, value in layer.named_parameters()}
    return {"gate_weight" if name == "v" else name: value for name, value in numbers.items()}


def assert_equal(found, expected):
    expected = torch.from_numpy(expected).reshape(found.shape)
    torch.testing.assert_close(found.detach(), expected, rtol=1e-12, atol=1e-12)


def test_b0_of_ghost_batches():
    layer, x = build("evonorm-b0", batch_size=3), data(5, CHANNELS, 3, 2)
    whole = build("evonorm-b0")
    torch.testing.assert_close(layer(x), torch.cat([whole(x[:3]), whole(x[3:])]))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (EvoNormS0(CHANNELS, groups=3), EvoNorm2dS0(CHANNELS, groups=3)),
        (EvoNormB0(CHANNELS), EvoNorm2dB0(CHANNELS)),
    ],
    ids=["s0", "b0"],
)
def test_are_timms(ours, theirs):
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.uniform_(0.5, 1.5)
    missing, unexpected = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert set(missing) <= {"running_mean", "num_batches_tracked"}
    assert unexpected == []
    for seed in range(3):
        x = data(5, CHANNELS, 3, 2, dtype=torch.float32, seed=seed)
        torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_s0_gate_of_zero_halves():
    layer = EvoNormS0(CHANNELS, groups=1).double()
    torch.nn.init.zeros_(layer.v)
    x = data(5, CHANNELS, 3, 2)
    deviation = x.flatten(1).var(1, correction=0).add(1e-5).sqrt()
    torch.testing.assert_close(layer(x), x / 2 / deviation.view(-1, 1, 1, 1))
