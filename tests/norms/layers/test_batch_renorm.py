"""Batch renorm against loops over several steps, and against batch norm where they are equal."""

import copy

import pytest
import torch

from ssl_norm.norms.layers.batch_norm import BatchNorm
from ssl_norm.norms.layers.batch_renorm import BatchRenorm
from tests.norms.test_contract import CHANNELS, SHAPES, build, data
from tests.reference import batch_renorm as reference
from tests.reference.gradients import numerical_gradient

SCHEDULE = {"warmup_steps": 1, "r_ramp_steps": 4, "d_ramp_steps": 2}


def affine_of(layer):
    return layer.weight.detach().numpy(), layer.bias.detach().numpy()


def limits(step):
    r_max, _ = reference.renorm_limits(step, warmup_steps=1, ramp_steps=4)
    _, d_max = reference.renorm_limits(step, warmup_steps=1, ramp_steps=2)
    return r_max, d_max


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_steps_equal_loops(shape):
    layer = build("brn", update_rate=0.3, **SCHEDULE)
    batches = [(1 + seed) * data(*shape, seed=seed) for seed in range(7)]
    rows = [batch.reshape(5, CHANNELS, -1).numpy() for batch in batches]
    expected = reference.batch_renorm_steps(rows, *affine_of(layer), 0.3, limits)
    for batch, rows_expected in zip(batches, expected, strict=True):
        found = layer(batch).detach().numpy()
        torch.testing.assert_close(found, rows_expected.reshape(shape), rtol=1e-11, atol=1e-11)


def test_correction_is_a_constant_of_the_gradient():
    layer = build("brn", **SCHEDULE)
    for seed in range(4):
        layer(data(5, CHANNELS, 2, seed=seed))
    x, cotangent = (3 * data(5, CHANNELS, 2, seed=8)).requires_grad_(), data(5, CHANNELS, 2, seed=9)
    rows, running = x.detach().numpy(), (layer.running_mean.numpy(), layer.running_var.numpy())
    r, d = reference.renorm_correction(rows, *running, *limits(4))
    assert (r != 1).all()
    assert (d != 0).all()
    expected = numerical_gradient(
        lambda z: reference.corrected_batch_norm(z, r, d, *affine_of(layer)),
        rows,
        cotangent.numpy(),
    )
    layer(x).backward(cotangent)
    torch.testing.assert_close(x.grad.numpy(), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    "options", [{"warmup_steps": 3}, {"warmup_steps": 0, "r_max": 1, "d_max": 0}], ids=str
)
def test_warm_up_and_no_limits_are_batch_norm(options):
    renorm, batch_norm = BatchRenorm(CHANNELS, **options), BatchNorm(CHANNELS)
    for seed in range(3):
        x = data(5, CHANNELS, 3, 2, dtype=torch.float32, seed=seed)
        torch.testing.assert_close(renorm(x), batch_norm(x))
    torch.testing.assert_close(renorm.eval()(x), batch_norm.eval()(x))


def test_within_the_limits_training_is_evaluation():
    layer = build("brn", r_max=1e6, d_max=1e6, warmup_steps=0, r_ramp_steps=1, d_ramp_steps=1)
    for seed in range(3):
        layer(data(5, CHANNELS, 3, 2, seed=seed))
    x = 3 * data(5, CHANNELS, 3, 2, seed=8)
    expected = copy.deepcopy(layer).eval()(x)
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize(
    ("steps", "limits"),
    [
        (0, (1, 0)),
        (5000, (1, 0)),
        (15000, (1 + 2 * 10 / 35, 2.5)),
        (25000, (1 + 2 * 20 / 35, 5)),
        (40000, (3, 5)),
        (10**6, (3, 5)),
    ],
)
def test_published_schedule(steps, limits):
    layer = BatchRenorm(2)
    layer.num_batches_tracked.fill_(steps)
    assert [limit.item() for limit in layer.limits()] == pytest.approx(limits)


def test_ghost_batches_are_corrected_apart():
    layer = build("brn", batch_size=3, **SCHEDULE)
    for seed in range(4):
        layer(data(5, CHANNELS, 2, seed=seed))
    x = 3 * data(5, CHANNELS, 2, seed=8)
    running = layer.running_mean.numpy().copy(), layer.running_var.numpy().copy()
    found = layer(x).detach().numpy()
    for rows, part in ((x[:3], found[:3]), (x[3:], found[3:])):
        expected = reference.batch_renorm(rows.numpy(), *affine_of(layer), *running, *limits(4))
        torch.testing.assert_close(part, expected, rtol=1e-11, atol=1e-11)
