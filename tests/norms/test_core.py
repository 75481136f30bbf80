"""The core of the norms: values and gradients of any rule, under every use of a module."""

import shutil

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ssl_norm.norms.core import RuleNorm, normalize
from tests.norms.kernels.passes import LAYOUTS, TOLERANCES, data

SHAPES = [(4, 3), (4, 3, 5), (4, 3, 3, 2), (4, 3, 2, 3, 2)]
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
with_space = pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
each_layout = pytest.mark.parametrize("layout", LAYOUTS)


class Mixed(RuleNorm):
    """A rule that uses all moments: those of the batch, the group and the instance."""

    def __init__(self, num_features=3):
        super().__init__(num_features)
        self.weight = nn.Parameter(data(num_features, seed=3))
        self.bias = nn.Parameter(data(num_features, seed=4))
        self.double()

    def rule(self, mean, variance):
        pooled = mean.mean(0)
        spread = variance.mean(0) + (mean - pooled).square().mean(0)
        group = (variance + mean.square()).mean(1, keepdim=True)
        scale = self.weight * (spread + 0.3 * group + 0.1 * variance + 0.1).rsqrt()
        return scale * torch.sigmoid(mean), self.bias - pooled * scale


class Frozen(RuleNorm):
    """A rule that ignores the moments and returns tables (C,) that need no gradient."""

    def rule(self, mean, variance):
        return data(3, seed=3), data(3, seed=4)


def definition(x, rule):
    """Return the result of `normalize` from plain operations on (N, C, S)."""
    rows = x.flatten(2) if x.ndim > 2 else x.unsqueeze(-1)
    mean, variance = rows.mean(-1), rows.var(-1, correction=0)
    scale, shift = (table.expand_as(mean).unsqueeze(-1) for table in rule(mean, variance))
    return (scale * rows + shift).view_as(x)


def gradients(function, x, *parameters):
    """Return the value and the gradients of a weighted sum of it."""
    y = function(x)
    weights = data(*x.shape, seed=7).to(y.dtype)
    return y, *torch.autograd.grad((y * weights).sum(), (x, *parameters))


def compare(actual, expected, tolerance=None):
    for ours, theirs in zip(actual, expected, strict=True):
        tolerance = tolerance or TOLERANCES[torch.float64]
        torch.testing.assert_close(ours, theirs, check_dtype=False, **tolerance)


@each_shape
@each_layout
def test_equals_the_definition(layout, shape):
    layer, x = Mixed(), LAYOUTS[layout](data(*shape)).requires_grad_()
    before = x.detach().clone()
    actual = gradients(layer, x, *layer.parameters())
    expected = gradients(lambda x: definition(x.contiguous(), layer.rule), x, *layer.parameters())
    compare(actual, expected)
    assert torch.equal(x, before)
    for like in actual[:2]:
        assert like.movedim(1, -1).is_contiguous() or not x.movedim(1, -1).is_contiguous()


@with_space
def test_backward_twice_through_a_retained_graph(shape):
    layer, x = Mixed(), data(*shape).requires_grad_()
    loss = layer(x).square().sum()
    loss.backward(retain_graph=True)
    once = [leaf.grad.clone() for leaf in (x, *layer.parameters())]
    loss.backward()
    compare((x.grad, *(p.grad for p in layer.parameters())), [2 * grad for grad in once])


@each_shape
def test_partial_gradients_first(shape):
    layer, x = Mixed(), data(*shape).requires_grad_()
    parameters = tuple(layer.parameters())
    loss = layer(x).square().sum()
    expected = torch.autograd.grad(layer(x).square().sum(), (x, *parameters))
    some = torch.autograd.grad(loss, parameters, retain_graph=True)
    (dx,) = torch.autograd.grad(loss, x, retain_graph=True)
    compare((dx, *some), expected)
    loss.backward()
    compare((x.grad, *(p.grad for p in parameters)), expected)


@with_space
def test_output_used_twice_and_input_used_elsewhere(shape):
    layer = Mixed()

    def twice(function):
        def used(x):
            y = function(x)
            return y.sin() * y + x * y + x.square()

        return used

    x = data(*shape).requires_grad_()
    compare(
        gradients(twice(layer), x, *layer.parameters()),
        gradients(twice(lambda x: definition(x, layer.rule)), x, *layer.parameters()),
    )


@each_shape
def test_a_rule_that_ignores_the_moments(shape):
    layer, x = Frozen(3), data(*shape).requires_grad_()
    scale, shift = layer.rule(None, None)
    y, dx = gradients(layer, x)
    expected = scale.view(3, *(1 for _ in shape[2:]))
    compare((y, dx), (expected * x + shift.view_as(expected), expected * data(*shape, seed=7)))


@with_space
def test_moments_that_leave_the_rule(shape):
    kept = []

    def rule(mean, variance):
        kept.extend((mean, variance))
        return (variance + 1).rsqrt(), mean

    x = data(*shape).requires_grad_()
    normalize(x, rule)
    (dx,) = torch.autograd.grad((kept[0].sin() + kept[1].sin()).sum(), x)
    rows = x.flatten(2)
    moments = rows.mean(-1).sin() + rows.var(-1, correction=0).sin()
    compare([dx], torch.autograd.grad(moments.sum(), x))


@each_shape
def test_input_that_needs_no_gradient(shape):
    layer, x = Mixed(), data(*shape)
    y = layer(x)
    actual = torch.autograd.grad(y.square().sum(), tuple(layer.parameters()))
    expected = definition(x, layer.rule).square().sum()
    compare(actual, torch.autograd.grad(expected, tuple(layer.parameters())))
    with torch.no_grad():
        assert not layer(x.requires_grad_()).requires_grad
    with torch.inference_mode():
        compare([layer(x)], [y])


@pytest.mark.parametrize("shape", [(3,), (), (2, 3, 0), (2, 3, 4, 0), (2, 0, 4)], ids=str)
def test_inputs_without_moments_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected an input of shape \(N, C, \*spatial\), got"):
        normalize(torch.zeros(shape), lambda mean, variance: (mean, variance))


def test_expanded_inputs_and_gradients():
    layer, x = Mixed(), data(4, 3, 1, 1).requires_grad_()

    def use(function):
        y = function(x.expand(4, 3, 3, 2))
        return y.square().mean((2, 3)).sum() + y.sum()  # gradients of y come expanded

    compare(
        torch.autograd.grad(use(layer), (x, *layer.parameters())),
        torch.autograd.grad(use(lambda x: definition(x, layer.rule)), (x, *layer.parameters())),
    )


@with_space
@pytest.mark.parametrize("use_reentrant", [False, True])
def test_checkpointing(shape, use_reentrant):
    layer, x = Mixed(), data(*shape).requires_grad_()
    weights = data(*shape, seed=7)
    y = checkpoint(layer, x, use_reentrant=use_reentrant)
    (y * weights).sum().backward()
    expected = gradients(layer, x, *layer.parameters())
    compare((y, x.grad, *(p.grad for p in layer.parameters())), expected)


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_compiles_into_machine_code():
    layer, x = Mixed(), data(4, 3, 3, 2).requires_grad_()
    actual = gradients(torch.compile(layer, fullgraph=True), x, *layer.parameters())
    compare(actual, gradients(layer, x, *layer.parameters()))


def test_only_the_input_and_tables_are_saved():
    sizes = []
    x = data(4, 3, 16, 16).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(
        lambda saved: sizes.append((saved.data_ptr(), saved.numel())) or saved, lambda saved: saved
    ):
        Mixed()(x)
    large = {pointer for pointer, elements in sizes if elements > 4 * 3}
    assert large == {x.data_ptr()}
