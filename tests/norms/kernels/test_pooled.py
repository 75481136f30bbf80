"""The compiled rule of pooled moments: comparison with its definition, and when it is used."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

from ssl_norm.norms import make_norm
from ssl_norm.norms.kernels.native_build import library
from ssl_norm.norms.kernels.pooled import PARAMETERS, PooledRule
from tests.norms.kernels.passes import TOLERANCES, data

needs_compiler = pytest.mark.skipif(
    library("pooled.cpp", SCALAR="float") is None, reason="needs a C++ compiler"
)
EPS, FACTOR = 0.03, 1.7


def definition(samples, channels, mean, variance, *parameters):
    """Return scale and shift by loops over the cells."""
    weight, bias, center, slope, offset = parameters
    centred = mean if center is None else mean + center * mean
    scale, shift = torch.zeros_like(mean), torch.zeros_like(mean)
    for rows in torch.arange(len(mean)).split(samples or len(mean)):
        for columns in torch.arange(mean.shape[1]).split(channels):
            cell = (rows[:, None], columns)
            pooled = centred[cell].mean()
            spread = (variance[cell] + (centred[cell] - pooled).square()).mean()
            inverse = (spread + EPS).rsqrt()
            deviation = centred[cell] - pooled
            factor = FACTOR * inverse * (1 if weight is None else weight[columns])
            if slope is not None:
                gate = torch.sigmoid(deviation * inverse * slope[columns] + offset[columns])
                factor = factor * gate
            scale[cell] = factor
            moved = factor * (deviation - mean[cell])
            shift[cell] = moved if bias is None else moved + bias[columns]
    return scale, shift


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize(
    "absent", [(), PARAMETERS, ("center_weight", "scale_weight", "scale_bias"), ("weight",)]
)
@pytest.mark.parametrize(("samples", "channels"), [(None, 1), (2, 1), (1, 3), (1, 1), (3, 6)])
def test_equals_its_definition(samples, channels, absent, dtype):
    tables = [data(5, 6, seed=1), data(5, 6, seed=2).square()]
    parameters = [
        None if name in absent else data(6, seed=seed) for seed, name in enumerate(PARAMETERS, 3)
    ]
    d_tables = [data(5, 6, seed=8), data(5, 6, seed=9)]
    inputs = [t.requires_grad_() for t in (*tables, *parameters) if t is not None]
    expected = definition(samples, channels, *tables, *parameters)
    wanted = torch.autograd.grad(expected, inputs, d_tables)

    def narrow(tensors):
        return tuple(None if t is None else t.detach().to(dtype) for t in tensors)

    rule = PooledRule(
        definition, narrow(parameters), samples, channels=channels, eps=EPS, factor=FACTOR
    )
    mean, variance = narrow(tables)
    scale, shift, *kept = rule.coefficients(mean, variance)
    found = rule.gradients(rule.parameters, mean, scale, *kept, *narrow(d_tables))
    tolerance = TOLERANCES[dtype]
    torch.testing.assert_close((scale, shift), expected, check_dtype=False, **tolerance)
    present = tuple(g for g in found if g is not None)
    torch.testing.assert_close(present, wanted, check_dtype=False, **tolerance)
    assert len(found) - len(present) == len(absent)


@needs_compiler
@pytest.mark.parametrize("name", ["gn", "rbn", "in", "ghost"])
def test_no_other_operation_is_recorded(name):
    y = make_norm(name, 4)(
        data(6, 4, 3, 3, dtype=torch.float32).to(memory_format=torch.channels_last)
    )
    assert [type(next_).__name__ for next_, _ in y.grad_fn.next_functions if next_] == [
        "AccumulateGrad" for _ in make_norm(name, 4).parameters()
    ]


@needs_compiler
def test_gradients_of_gradients_are_those_of_the_parameters_that_were_used():
    layer, x = make_norm("rbn", 3).double(), data(4, 3, 2, 2).requires_grad_()
    used = {name: data(3, seed=5) for name, _ in layer.named_parameters()}

    def second():
        y = functional_call(layer, used, (x,))
        (dx,) = torch.autograd.grad(y.sin().sum(), x, create_graph=True)
        return torch.autograd.grad(dx.square().sum(), x)[0]

    found = second()
    for name, value in used.items():
        layer.get_parameter(name).data.copy_(value)
    (dx,) = torch.autograd.grad(layer(x).sin().sum(), x, create_graph=True)
    torch.testing.assert_close(found, torch.autograd.grad(dx.square().sum(), x)[0])


@pytest.mark.parametrize("name", ["rule", "batch_moments", "by_sample", "statistics"])
@pytest.mark.parametrize("kind", ["rbn", "ghost"])
@pytest.mark.parametrize("place", ["class", "object"])
def test_every_method_of_the_rule_can_be_overridden(kind, name, place, monkeypatch):
    layer, x = make_norm(kind, 3).double(), data(4, 3, 2, 2)
    usual = layer(x)
    own = getattr(type(layer), name)

    def wider(self, *arguments):
        found = own(self, *arguments)
        first, second, *others = found
        return type(found)(*(first, 9 * second, *others)) if others else (first, 9 * second)

    if place == "class":
        monkeypatch.setattr(layer, "__class__", type("Other", (type(layer),), {name: wider}))
    else:
        monkeypatch.setattr(layer, name, wider.__get__(layer))
    assert not torch.allclose(layer(x), usual, rtol=0.1)


@needs_compiler
@pytest.mark.parametrize("shape", [(), (1,), (2,), (1, 3), (9,)])
def test_parameters_of_another_shape_are_those_of_the_plain_path(shape, monkeypatch):
    layer, x = make_norm("rbn", 3).double(), data(4, 3, 2, 2)
    layer.weight = nn.Parameter(torch.full(shape, 2.0, dtype=torch.float64))
    found = []
    for _ in range(2):
        try:
            found.append(layer(x))
        except RuntimeError as error:
            found.append(str(error))
        monkeypatch.setattr(PooledRule, "takes", lambda *_: False)
    if isinstance(found[1], str):
        assert found[0] == found[1]
    else:
        torch.testing.assert_close(*found)


@needs_compiler
def test_a_gate_without_its_bias_is_none_as_on_the_plain_path(monkeypatch):
    layer, x = make_norm("rbn", 3).double(), data(4, 3, 2, 2)
    layer.scale_bias = None
    found = layer(x)
    monkeypatch.setattr(PooledRule, "takes", lambda *_: False)
    torch.testing.assert_close(found, layer(x))


@needs_compiler
def test_the_gradient_of_center_weight_is_precise_for_large_means():
    x, dy = data(33, 4, 5, 3) + 100, data(33, 4, 5, 3, seed=1)
    wanted, found = (
        torch.autograd.grad(layer(x.to(dtype)), layer.center_weight, dy.to(dtype))[0]
        for dtype in (torch.float64, torch.float32)
        for layer in [make_norm({"name": "rbn", "batch_size": 4}, 4).to(dtype)]
    )
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=1e-4 * wanted.abs().max())


def test_parameters_elsewhere_are_an_error_of_torch():
    layer = make_norm("rbn", 3)
    layer.weight = nn.Parameter(torch.ones(3, device="meta"))
    with pytest.raises((RuntimeError, NotImplementedError)):
        layer(data(4, 3, 2, 2, dtype=torch.float32))


@needs_compiler
@pytest.mark.parametrize("samples", [None, 2, 5, 9])
def test_running_statistics_are_those_of_the_plain_path(samples, monkeypatch):
    x = data(5, 3, 4, 4)
    layers = [make_norm({"name": "rbn", "batch_size": samples}, 3).double() for _ in range(2)]
    for layer in layers:
        layer(x)
        monkeypatch.setattr(PooledRule, "takes", lambda *_: False)
    torch.testing.assert_close(layers[0].state_dict(), layers[1].state_dict())
