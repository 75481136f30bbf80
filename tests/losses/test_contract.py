"""Properties of every loss in the registry, derived from its signature and declaration."""

import re
from importlib import import_module
from inspect import Parameter, signature

import pytest
import torch
from torch import Tensor

from ssl_norm.losses import LOSSES
from tests.reference import losses as references

WIDTH, ROWS, QUEUE = 5, 7, 9
each_loss = pytest.mark.parametrize("name", LOSSES)


def embeddings(name):
    """Return the names of the parameters that take embeddings."""
    parameters = signature(LOSSES.load(name)).parameters.values()
    return [p.name for p in parameters if p.annotation is Tensor]


def options(name):
    """Return a value for each option without default."""
    parameters = signature(LOSSES.load(name)).parameters.values()
    required = (p for p in parameters if p.default is Parameter.empty)
    return {p.name: 0.5 for p in required if p.annotation is not Tensor}


def counts(name):
    return [QUEUE if given == "queue" else ROWS for given in embeddings(name)]


def rows(name, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    wide = {"generator": generator, "dtype": torch.float64}
    return [torch.randn(count, WIDTH, **wide).to(dtype) for count in counts(name)]


def measure(name, given):
    return LOSSES.load(name)(*given, **options(name))


def reference(name):
    """Return the definition in loops: of tests/reference/losses.py or of the loss's own test."""
    function = LOSSES.load(name).__name__
    if hasattr(references, function):
        return getattr(references, function)
    return import_module(f"tests.losses.test_{name}").reference


@each_loss
@pytest.mark.parametrize("seed", range(3))
def test_equals_its_reference_and_stays_in_its_range(name, seed):
    given = rows(name, seed=seed)
    given[0] = 30 * given[0]
    expected = reference(name)(*(z.numpy() for z in given), **options(name))
    found = measure(name, given)
    torch.testing.assert_close(found.item(), expected, rtol=1e-12, atol=0)
    declared = LOSSES.load(name).declaration
    assert declared.low <= found <= declared.high


@each_loss
def test_gradients(name):
    given = tuple(z.requires_grad_() for z in rows(name))
    assert torch.autograd.gradcheck(lambda *z: measure(name, z), given)


@each_loss
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_value_and_finite_gradient_at_complete_collapse(name, dtype):
    given = [torch.full((count, WIDTH), 0.7, dtype=dtype) for count in counts(name)]
    given[0].requires_grad_()
    found = measure(name, given)
    found.backward()
    expected = LOSSES.load(name).declaration.at_collapse(*counts(name))
    assert found.item() == pytest.approx(expected, abs=1e-12 if dtype == torch.float64 else 1e-5)
    assert torch.isfinite(given[0].grad).all()


@each_loss
def test_order_of_rows_does_not_matter(name):
    given = rows(name)
    generator = torch.Generator().manual_seed(5)
    orders = {count: torch.randperm(count, generator=generator) for count in (ROWS, QUEUE)}
    shuffled = [z[orders[len(z)]] for z in given]
    torch.testing.assert_close(measure(name, shuffled), measure(name, given))


@each_loss
def test_half_precision_is_widened_and_float64_kept(name):
    given = rows(name)
    assert measure(name, given).dtype == torch.float64
    for dtype in (torch.bfloat16, torch.float16):
        half = [z.to(dtype) for z in given]
        found = measure(name, half)
        assert (found.shape, found.dtype) == ((), torch.float32)
        assert torch.equal(found, measure(name, [z.float() for z in half]))


@each_loss
def test_ignores_autocast_and_leaves_its_input_alone(name):
    given = rows(name, torch.float32)
    before = [z.clone() for z in given]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = measure(name, given)
    assert torch.equal(under_autocast, measure(name, given))
    assert all(map(torch.equal, given, before))


@each_loss
def test_shapes_that_do_not_fit_are_named(name):
    first, second, *rest = rows(name)
    for wrong in (second[:-1], second[:, :-1], second[0]):
        with pytest.raises(ValueError, match=re.escape(str(tuple(wrong.shape)))):
            measure(name, [first, wrong, *rest])
    with pytest.raises(ValueError, match=rf"got \(0, {WIDTH}\)"):
        measure(name, [first[:0], second[:0], *rest])


@each_loss
def test_a_temperature_is_positive(name):
    if "temperature" in signature(LOSSES.load(name)).parameters:
        for temperature in (0.0, -1.0, float("nan")):
            message = f"temperature must be positive, got {temperature}"
            with pytest.raises(ValueError, match=message):
                LOSSES.load(name)(*rows(name), temperature=temperature)
