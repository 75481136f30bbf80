"""What every norm in the registry promises, alone and with weight standardization before it."""

import copy
import inspect
import io
import subprocess
import sys
from importlib import import_module

import pytest
import torch
from torch import nn

from ssl_norm.norms import NORMS, make_norm, parse_norm
from ssl_norm.norms.layers.weight_standardization import standardize_weights
from tests.reference import batch_norms
from tests.reference import norms as reference

CHANNELS = 6
SHAPES = [(5, CHANNELS), (5, CHANNELS, 4), (5, CHANNELS, 3, 2), (5, CHANNELS, 2, 3, 2)]
OPTIONS = {
    "gn": {"groups": 3},
    "evonorm-s0": {"groups": 3},
    "zca": {"groups": 2},
    "iternorm": {"groups": 2},
    "domain": {"domains": 1},  # batches of any size; more domains: test_domain_batch_norm.py
}
WHITENING = ("zca", "iternorm")  # their running covariances: test_whitening.py
AFFINE = {"weight", "bias"}

each_norm = pytest.mark.parametrize("name", NORMS)
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
each_norm_and_shape = pytest.mark.parametrize(
    ("name", "shape"),
    [(name, shape) for name in NORMS for shape in SHAPES if NORMS[name].vectors or len(shape) > 2],
    ids=str,
)


def build(name, dtype=torch.float64, **options):
    """Return a norm whose parameters are random, so that no identity hides a mistake."""
    layer = make_norm({"name": name, **OPTIONS.get(name, {}), **options}, CHANNELS).to(dtype)
    return randomize(layer)


def randomize(layer):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(
                0.5 + torch.rand(parameter.shape, generator=generator, dtype=torch.float64)
            )
    return layer


def data(*shape, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(*shape, generator=generator, dtype=torch.float64) + 0.7).to(dtype)


class Standardized(nn.Module):
    """A convolution with standardized weights, and the norm that follows it."""

    def __init__(self, name):
        super().__init__()
        self.convolution = randomize(standardize_weights(nn.Conv2d(3, CHANNELS, 2).double()))
        self.norm = build(name)

    def forward(self, x):
        return self.norm(self.convolution(x))


@each_norm_and_shape
@pytest.mark.parametrize("training", [True, False])
def test_keeps_shape_dtype_and_input(name, shape, training):
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        x = data(*shape, dtype=dtype)
        before = x.clone()
        y = build(name, dtype).train(training)(x)
        assert (y.shape, y.dtype, y.device) == (x.shape, x.dtype, x.device)
        assert torch.equal(x, before)


@each_norm_and_shape
def test_gradients(name, shape):
    layer = build(name)
    parameters = tuple(layer.parameters())

    def function(x, *_):
        return layer(x)

    inputs = (data(*shape).requires_grad_(), *parameters)
    many = len(shape) > 3  # entries: along random directions instead of one by one
    assert torch.autograd.gradcheck(function, inputs, fast_mode=many)


@each_norm
def test_gradients_with_weight_standardization(name):
    layer = Standardized(name)

    def function(x, *_):
        return layer(x)

    x = data(3, 3, 3, 3).requires_grad_()
    assert torch.autograd.gradcheck(function, (x, *layer.parameters()))


@each_norm
def test_misspelled_option_is_named(name):
    with pytest.raises(TypeError, match=f"unknown option of norm '{name}' 'epz'"):
        make_norm({"name": name, "epz": 1e-3}, CHANNELS)


@pytest.mark.parametrize(
    "name", [name for name, entry in NORMS.items() if "affine" in entry.options]
)
def test_affine_false_owns_nothing_affine(name):
    layer = build(name, affine=False)
    assert not AFFINE & set(dict(layer.named_parameters()))
    assert AFFINE & set(dict(build(name).named_parameters()))
    assert layer(data(5, CHANNELS, 3, 2)).shape == (5, CHANNELS, 3, 2)


@each_norm
@pytest.mark.parametrize("training", [True, False])
def test_channels_last_equals_contiguous(name, training):
    x = data(5, CHANNELS, 3, 2).requires_grad_()
    last = x.detach().to(memory_format=torch.channels_last).requires_grad_()
    layer = build(name).train(training)
    y, y_last = copy.deepcopy(layer)(x), copy.deepcopy(layer)(last)
    y.square().sum().backward()
    y_last.square().sum().backward()
    torch.testing.assert_close(y_last, y, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(last.grad, x.grad, rtol=1e-12, atol=1e-12)
    assert y_last.is_contiguous(memory_format=torch.channels_last)


@each_norm_and_shape
def test_bfloat16_is_near_float64(name, shape):
    x = data(*shape)
    y = build(name, torch.bfloat16)(x.bfloat16())
    torch.testing.assert_close(y.double(), build(name)(x), rtol=0.03, atol=0.05)


@each_norm
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_keeps_dtype(name, dtype):
    layer = build(name, torch.float32)
    x = data(5, CHANNELS, 3, 2, dtype=dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x)
    y.float().square().sum().backward()
    assert y.dtype == x.grad.dtype == dtype
    assert all(p.grad.dtype == torch.float32 for p in layer.parameters() if p.grad is not None)


@each_norm
@pytest.mark.parametrize("suffix", ["", "+ws"])
def test_state_dict_round_trip(name, suffix):
    layer, other = (Standardized(name) if suffix else build(name) for _ in range(2))
    x = data(5, 3, 4, 3) if suffix else data(5, CHANNELS, 4, 3)
    layer(x)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(layer.eval()(x), other.eval()(x))


@each_norm
def test_deep_copy_and_pickle_go_their_own_way(name):
    layer = Standardized(name)
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    x = data(5, 3, 4, 3)
    expected = layer(x)
    for other in (copy.deepcopy(layer), torch.load(file, weights_only=False)):
        with torch.no_grad():
            layer.convolution.weight.zero_()
        torch.testing.assert_close(other(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "name",
    [name for name, entry in NORMS.items() if entry.batch_statistics and name not in WHITENING],
)
@each_shape
def test_evaluation_uses_the_running_statistics(name, shape):
    layer = build(name, update_rate=0.3)
    batches = [data(*shape, seed=seed) for seed in range(1, 4)]
    for batch in batches:
        layer(batch)
    x = data(*shape).reshape(5, CHANNELS, -1)
    rows = [batch.reshape(5, CHANNELS, -1).numpy() for batch in batches]
    numbers = {key: value.detach().numpy() for key, value in layer.named_parameters()}
    if name == "rbn":
        rows = [reference.centring_calibration(row, numbers["center_weight"]) for row in rows]
    statistics = reference.running_statistics(rows, update_rate=0.3)
    expected = evaluation(name, x.numpy(), numbers, statistics)
    y = layer.eval()(x.reshape(shape)).detach().reshape(x.shape)
    torch.testing.assert_close(y, torch.from_numpy(expected), rtol=1e-12, atol=1e-12)
    assert (layer.num_batches_tracked == 3).all()


def evaluation(name, x, numbers, statistics):
    """Return what a batch norm does with given statistics, by loops."""
    if name == "rbn":
        return reference.representative_batch_norm(x, **numbers, statistics=statistics)
    if name == "switch":
        return batch_norms.switchable_norm(x, **numbers, statistics=statistics)
    if name == "evonorm-b0":
        gate_weight, variance = numbers.pop("v"), statistics[1]
        return batch_norms.evonorm_b0(x, gate_weight, **numbers, batch_variance=variance, eps=1e-3)
    return reference.affine(reference.normalize_channels(x, *statistics, 1e-5), **numbers)


@pytest.mark.parametrize("name", [name for name, entry in NORMS.items() if entry.batch_statistics])
def test_one_value_per_channel(name):
    layer = build(name)
    with pytest.raises(ValueError, match=r"more than one value per channel .* shape \(1, 6\)"):
        layer(data(1, CHANNELS))
    assert layer.eval()(data(1, CHANNELS)).shape == (1, CHANNELS)
    assert (layer.num_batches_tracked == 0).all()


@pytest.mark.parametrize("name", [name for name in NORMS if name != "none"])
def test_wrong_channels(name):
    with pytest.raises(ValueError, match=r"shape \(N, 6, \*spatial\), got \(5, 7, 2\)"):
        build(name)(data(5, CHANNELS + 1, 2))


@pytest.mark.parametrize("name", [name for name in NORMS if name != "none"])
def test_options_are_those_of_the_constructor(name):
    module_name, _, constructor = NORMS[name].target.partition(":")
    assert keyword_options(getattr(import_module(module_name), constructor)) == NORMS[name].options


def keyword_options(kind):
    """Return the names of a class's keyword options; where it has `**options`, first its base's."""
    positional, *keywords = inspect.signature(kind).parameters.values()
    assert positional.name == "num_features"
    own = tuple(option.name for option in keywords if option.kind is option.KEYWORD_ONLY)
    if len(own) == len(keywords):
        return own
    assert keywords[-1].name == "options"
    inherited = keyword_options(kind.__base__)
    return (*inherited, *(option for option in own if option not in inherited))


@each_norm
def test_batch_statistics_are_declared(name):
    layer, x = build(name), data(5, CHANNELS, 3, 2)
    alone = torch.cat([layer(half) for half in x.split([2, 3])])
    assert torch.allclose(layer(x), alone) != parse_norm(name).batch_statistics


def test_names_need_no_torch():
    code = "import sys, ssl_norm.norms; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
