from itertools import product

import pytest
import torch

from ssl_norm.norms import make_norm
from ssl_norm.norms.layers.batch_norm import BatchNorm
from tests.norms.test_contract import CHANNELS, SHAPES, build, data
from tests.reference.norms import positions, representative_batch_norm

GATES = ["sigmoid", "tanh", "softmax", "none"]
STATISTICS = ["mean", "std", "max"]
OPTIONS = [
    *product(["both"], GATES, STATISTICS),
    *product(["scaling"], ["sigmoid"], STATISTICS),
    *product(["centring"], ["sigmoid"], STATISTICS),
]
each_option = pytest.mark.parametrize(("calibration", "gate", "statistic"), OPTIONS)


def rbn(calibration, gate, statistic, **more):
    return build("rbn", calibration=calibration, gate=gate, statistic=statistic, **more)


@each_option
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_options_equal_their_equations(calibration, gate, statistic, shape):
    x, layer = positions(data(*shape)), rbn(calibration, gate, statistic)
    own = dict(layer.named_parameters())
    expected = representative_batch_norm(x, gate=gate, statistic=statistic, **own)
    found = positions(layer(data(*shape)))
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


@each_option
@pytest.mark.parametrize("training", [True, False])
def test_gradients_of_options(calibration, gate, statistic, training):
    layer = rbn(calibration, gate, statistic).train(training)
    inputs = (data(5, CHANNELS, 3, 2).requires_grad_(), *layer.parameters())

    def function(x, *_):
        return layer(x)

    assert torch.autograd.gradcheck(function, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)


@each_option
def test_identity_init_starts_as_batch_norm(calibration, gate, statistic):
    spec = {"name": "rbn", "calibration": calibration, "gate": gate, "statistic": statistic}
    x = data(5, CHANNELS, 3, 2)
    layer = make_norm({**spec, "identity_init": True}, CHANNELS).double()
    torch.testing.assert_close(layer(x), BatchNorm(CHANNELS).double()(x))


@pytest.mark.parametrize("statistic", STATISTICS)
def test_constant_channels_have_finite_gradients(statistic):
    x = data(5, CHANNELS, 3, 2)
    x[:, 0] = 5.0
    x.requires_grad_()
    rbn("both", "sigmoid", statistic)(x).pow(2).sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("statistic", STATISTICS)
def test_options_keep_memory_format_and_half_precision(statistic):
    x = data(5, CHANNELS, 4, 4, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
    y = build("rbn", torch.float32, statistic=statistic)(x)
    assert y.dtype == torch.bfloat16
    assert y.is_contiguous(memory_format=torch.channels_last)
    exact = build("rbn", statistic=statistic)(x.double())
    torch.testing.assert_close(y.double(), exact, rtol=2e-2, atol=2e-2)
