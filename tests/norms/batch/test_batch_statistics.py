"""Policies of every batch norm, and identities between them."""

import pytest
import torch
from torch import nn

from ssl_norm.norms import NORMS, make_norm, parse_norm
from ssl_norm.norms.batch.batch_statistics import BatchMoments, pool, pool_unevenly
from ssl_norm.norms.layers.batch_norm import BatchNorm
from tests.norms.test_contract import CHANNELS, SHAPES, build, data
from tests.reference.norms import positions

ALL_OPTIONS = {name: parse_norm(name).all_options for name in NORMS}
WITH_POLICIES = [name for name, options in ALL_OPTIONS.items() if "batch_size" in options]

each_policy_norm = pytest.mark.parametrize("name", WITH_POLICIES)
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def assert_close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@each_shape
def test_ghost_batches_are_torchs_batch_norm_on_chunks(shape):
    layer, x = build("bn", batch_size=3, update_rate=0.3), data(*shape).requires_grad_()
    theirs = [nn.BatchNorm1d(CHANNELS, momentum=0.3).double() for _ in range(2)]
    for norm in theirs:
        norm.load_state_dict(layer.state_dict())
    chunks = [positions(chunk) for chunk in x.detach().split(3)]
    expected = [norm(chunk) for norm, chunk in zip(theirs, chunks, strict=True)]
    assert_close(positions(layer(x)).detach(), torch.cat(expected))
    for statistic in ("running_mean", "running_var"):
        average = (
            3 * getattr(theirs[0], statistic) + 2 * getattr(theirs[1], statistic)
        ) / 5  # weighted by samples
        assert_close(getattr(layer, statistic), average)
    assert layer.num_batches_tracked == 1


@each_policy_norm
@each_shape
def test_one_chunk_is_the_whole_batch(name, shape):
    if "domains" in ALL_OPTIONS[name] or ALL_OPTIONS[name]["batch_size"] is not None:
        pytest.skip("chunks mean something else there, or are the default")
    x, upstream = data(*shape), data(*shape, seed=1)
    found = []
    for batch_size in (None, 5, 64):
        layer, mine = build(name, batch_size=batch_size), x.clone().requires_grad_()
        y = layer(mine)
        y.backward(upstream)
        found.append([y, mine.grad, *(p.grad for p in layer.parameters()), *layer.buffers()])
    for other in found[1:]:
        for value, expected in zip(other, found[0], strict=True):
            assert_close(value.detach(), expected.detach())


def test_native_kernel_and_core_agree():
    class ByCore(BatchNorm):
        forward = BatchNorm.__mro__[1].forward

    for shape in SHAPES:
        for options in ({}, {"population": "cumulative"}, {"evaluation": "batch"}):
            native, core = (kind(CHANNELS, **options).double() for kind in (BatchNorm, ByCore))
            x, twin = (data(*shape).requires_grad_() for _ in range(2))
            for mode in (True, False, True, False):
                y, expected = native.train(mode)(x), core.train(mode)(twin)
                assert_close(y.detach(), expected.detach())
            y.backward(data(*shape, seed=1))
            expected.backward(data(*shape, seed=1))
            assert_close(x.grad, twin.grad)
            for buffer, twin_buffer in zip(native.buffers(), core.buffers(), strict=True):
                assert_close(buffer, twin_buffer)


@each_policy_norm
def test_ghost_batches_are_normalized_on_their_own(name):
    if "domains" in ALL_OPTIONS[name]:
        pytest.skip("takes equal chunks")
    x = data(5, CHANNELS, 3, 2)
    expected = torch.cat([build(name, batch_size=64)(chunk) for chunk in x.split(3)])
    assert_close(build(name, batch_size=3)(x).detach(), expected.detach())


@pytest.mark.parametrize("batch_size", [None, 3])
def test_cumulative_average_is_torchs_without_momentum(batch_size):
    layer = build("bn", population="cumulative", batch_size=batch_size)
    batches = [data(6, CHANNELS, 2, seed=seed) for seed in range(4)]
    for batch in batches:
        layer(batch)
    halves = torch.cat(batches).split(batch_size or 6)
    assert_close(layer.running_mean, torch.stack([h.mean((0, 2)) for h in halves]).mean(0))
    assert_close(
        layer.running_var,
        torch.stack([h.transpose(0, 1).flatten(1).var(1) for h in halves]).mean(0),
    )


@each_policy_norm
def test_evaluation_with_batch_statistics_moves_nothing(name):
    layer = build(name, evaluation="batch")
    x = data(6, CHANNELS, 3, 2)
    layer(data(6, CHANNELS, 3, 2, seed=3))
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    assert layer.eval()(x).isfinite().all()
    assert not torch.allclose(layer(x), layer(x[:3].repeat(2, 1, 1, 1)))
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())
    with pytest.raises(ValueError, match="more than one value per channel"):
        layer(data(1, CHANNELS))


@each_policy_norm
def test_sync_in_one_process_changes_nothing(name):
    if ALL_OPTIONS[name]["batch_size"] is not None:
        pytest.skip("ghost batches exclude sync")
    x = data(6, CHANNELS, 3, 2)
    assert_close(build(name, sync=True)(x).detach(), build(name)(x).detach())


def test_sync_and_ghost_batches_exclude_each_other():
    with pytest.raises(ValueError, match="sync=True spans all ranks, batch_size=4 splits"):
        make_norm({"name": "rbn", "sync": True, "batch_size": 4}, 8)


def test_last_chunk_with_one_value_is_named():
    with pytest.raises(ValueError, match=r"shape \(5, 6\), whose last chunk of batch_size=2 has 1"):
        build("bn", batch_size=2)(data(5, CHANNELS))


def test_pooling_of_pools_is_the_pool_of_all():
    x = data(9, CHANNELS, 7) + 1000
    moments = []
    for part in x.split([2, 1, 6]):
        mean, variance = pool(part.mean(2), part.var(2, correction=0))
        moments.append((mean, variance, mean.new_full((1, 1), 7.0 * len(part))))
    found = pool_unevenly(
        BatchMoments(*(torch.cat(column) for column in zip(*moments, strict=True)))
    )
    assert_close(found.mean[0], x.mean((0, 2)))
    torch.testing.assert_close(found.variance[0], x.transpose(0, 1).flatten(1).var(1, correction=0))
    assert found.values.item() == 63
