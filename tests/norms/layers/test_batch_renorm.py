"""Batch renorm against its equation over several steps, and against batch norm where they are equal."""

import pytest
import torch

from ssl_norm.norms.layers.batch_renorm import BatchRenorm
from tests.norms.test_contract import CHANNELS, SHAPES, build, data
from tests.reference import norms as reference

SCHEDULE = {"warmup_steps": 1, "r_ramp_steps": 4, "d_ramp_steps": 2}


def expected_of(layer, x, step):
    """Return the output of a training batch at a step, by the statistics before it."""
    tables = layer.weight, layer.bias, layer.running_mean.clone(), layer.running_var.clone()
    limits = reference.renorm_limits(step, **SCHEDULE)
    return reference.batch_renorm(reference.positions(x), *tables, *limits).view_as(x)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_steps_equal_the_equation(shape):
    layer = build("brn", update_rate=0.3, **SCHEDULE)
    batches = [(1 + seed) * data(*shape, seed=seed) for seed in range(7)]
    for step, batch in enumerate(batches):
        expected = expected_of(layer, batch, step)
        torch.testing.assert_close(layer(batch), expected, rtol=1e-11, atol=1e-11)
        rows = [reference.positions(x) for x in batches[: step + 1]]
        found = layer.running_mean, layer.running_var
        torch.testing.assert_close(found, reference.running_statistics(rows, 0.3))


def test_correction_is_a_constant_of_the_gradient():
    layer = build("brn", **SCHEDULE)
    for seed in range(4):
        layer(data(5, CHANNELS, 2, seed=seed))
    x, cotangent = (3 * data(5, CHANNELS, 2, seed=8)).requires_grad_(), data(5, CHANNELS, 2, seed=9)
    expected = expected_of(layer, x, step=4)
    found = (torch.autograd.grad(y, x, cotangent)[0] for y in (layer(x), expected))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("steps", [0, 5000, 15000, 25000, 40000, 10**6])
def test_published_schedule(steps):
    layer = BatchRenorm(2)
    layer.num_batches_tracked.fill_(steps)
    expected = reference.renorm_limits(steps, 5000, 35000, 20000)
    assert [limit.item() for limit in layer.limits()] == pytest.approx(expected)


def test_ghost_batches_are_corrected_apart():
    layer = build("brn", batch_size=3, **SCHEDULE)
    for seed in range(4):
        layer(data(5, CHANNELS, 2, seed=seed))
    x = 3 * data(5, CHANNELS, 2, seed=8)
    expected = torch.cat([expected_of(layer, part, step=4) for part in (x[:3], x[3:])])
    torch.testing.assert_close(layer(x), expected, rtol=1e-11, atol=1e-11)
