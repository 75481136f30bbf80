"""References by loops against numbers computed by hand.

The norms are compared with the references and with torch and timm, so these need no second oracle.
"""

import statistics
from math import exp, log, sqrt

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.reference import (
    batch_norms,
    batch_renorm,
    norms,
    population,
    sample_norms,
    whitening,
)
from tests.reference.gradients import numerical_gradient

CHANNELS = 6
SHAPES = [(5, CHANNELS, 4), (7, CHANNELS, 1)]
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def data(*shape, seed=0):
    random = np.random.default_rng(seed)
    return 2 * random.standard_normal(shape) + 0.7


def channel_numbers(seed):
    return 0.5 + np.random.default_rng(seed).random(CHANNELS)


WEIGHT, BIAS, GATE, THRESHOLD = map(channel_numbers, range(1, 5))
ONE, ZERO = np.ones(1), np.zeros(1)


def array(*samples):
    """Samples of one channel, each a list of positions, as (N, 1, S)."""
    return np.array(samples, dtype=np.float64)[:, None, :]


def assert_equal(found, expected, rtol=1e-12, atol=1e-12):
    found, expected = (np.asarray(values) for values in (found, expected))
    np.testing.assert_allclose(found.ravel(), expected.ravel(), rtol=rtol, atol=atol)


def tensors(*arrays):
    return [torch.from_numpy(values) for values in arrays]


def test_large_means_cost_no_digits():
    values = list(1000.0 + 1e-3 * np.random.default_rng(0).standard_normal(500))
    found = norms.mean_and_variance(values)
    assert_equal(found, [statistics.mean(values), statistics.pvariance(values)], rtol=1e-9, atol=0)


def test_batch_norm_by_hand():
    assert_equal(
        norms.batch_norm(array([0, 2], [4, 6]), 2 * ONE, ONE, eps=4.0), [-1, 1 / 3, 5 / 3, 3]
    )


def test_representative_batch_norm_by_hand():
    x = array([0, 2], [4, 6])
    found = norms.representative_batch_norm(
        x, 0.5 * ONE, 2 * ONE, ONE, 3 * ONE, -ONE, eps=0.0
    )  # centred 0.5 2.5 6.5 8.5: mean 4.5, variance 10
    gates = [1 / (1 + exp(-(2 * mean / sqrt(10) + 1))) for mean in (-3, 3)]
    expected = [3 * v / sqrt(10) * gates[v > 0] - 1 for v in (-4, -2, 2, 4)]
    assert_equal(found, expected)


def test_running_statistics_by_hand():
    mean, variance = norms.running_statistics([array([0, 2]), array([4, 4])], update_rate=0.5)
    assert_equal(mean, 0.5 * 0.5 + 0.5 * 4)
    assert_equal(variance, 0.5 * (0.5 * 1 + 0.5 * 2))
    biased = norms.running_statistics([array([0, 2])], update_rate=1.0, correction=0)
    assert_equal(biased[1], 1)


def test_standardized_weight_by_hand():
    assert_equal(norms.standardized_weight(np.array([[1.0, 3.0]]), eps=3.0), [-0.5, 0.5])


@each_shape
@pytest.mark.parametrize("momentum", [0.3, None])
def test_moved_statistics_and_frozen_batch_norm_are_torchs(shape, momentum):
    theirs = torch.nn.BatchNorm1d(CHANNELS, momentum=momentum).double()
    theirs.load_state_dict(
        dict(zip(("weight", "bias"), tensors(WEIGHT, BIAS), strict=True)), strict=False
    )
    batches = [data(*shape, seed=seed) for seed in range(3)]
    for batch in batches:
        theirs(torch.from_numpy(batch))
    if momentum is None:
        moved = population.cumulative_statistics(batches)
    else:
        moved = norms.running_statistics(batches, momentum)
    assert_equal(moved[0], theirs.running_mean)
    assert_equal(moved[1], theirs.running_var)
    expected = theirs.eval()(torch.from_numpy(batches[0])).detach()
    assert_equal(batch_norms.frozen_batch_norm(batches[0], WEIGHT, BIAS, *moved), expected)


def test_instance_norm_of_vectors_is_the_bias():
    assert_equal(sample_norms.instance_norm(data(2, CHANNELS, 1), WEIGHT, BIAS), np.tile(BIAS, 2))


@each_shape
def test_layer_norm_is_torchs(shape):
    x = data(*shape)
    full = [np.repeat(values[:, None], shape[2], axis=1) for values in (WEIGHT, BIAS)]
    expected = F.layer_norm(torch.from_numpy(x), shape[1:], *tensors(*full))
    assert_equal(sample_norms.layer_norm(x, WEIGHT, BIAS), expected)


def test_layer_norm_by_hand():
    x = np.array([[[0.0, 2.0], [4.0, 6.0]]])
    found = sample_norms.layer_norm(x, np.array([1.0, 2.0]), np.array([0.0, 1.0]), eps=4.0)
    assert_equal(found, [-1, -1 / 3, 5 / 3, 3])


@each_shape
def test_rms_norm_is_torchs(shape):
    x = data(*shape)
    full = torch.from_numpy(np.repeat(WEIGHT[:, None], shape[2], axis=1))
    expected = F.rms_norm(torch.from_numpy(x), shape[1:], full, eps=1e-3)
    assert_equal(sample_norms.rms_norm(x, WEIGHT, eps=1e-3), expected)


def test_rms_norm_does_not_centre():
    constant = np.full((1, 2, 2), 3.0)
    assert_equal(sample_norms.rms_norm(constant, np.ones(2), eps=7.0), [0.75] * 4)


def test_filter_response_norm_by_hand():
    x = array([3, -5])  # mean square 17
    found = sample_norms.filter_response_norm(x, 2 * ONE, ONE, threshold=-ONE, eps=8.0)
    assert_equal(found, [2 * 3 / 5 + 1, -1])


def test_evonorm_s0_by_hand():
    found = sample_norms.evonorm_s0(array([-1, 3]), log(2) * ONE, ONE, ZERO, groups=1, eps=0.0)
    assert_equal(found, [-1 / 3 / 2, 3 * 8 / 9 / 2])


def test_evonorm_b0_by_hand():
    x = array([-1, 1], [3, 5])  # batch variance 5, instance variances 1
    found = batch_norms.evonorm_b0(x, ONE, 2 * ONE, ONE, eps=0.0)
    assert_equal(found, [-2 / sqrt(5) + 1, 2 / sqrt(5) + 1, 2 * 3 / 4 + 1, 2 * 5 / 6 + 1])


def test_domain_batch_norm_is_batch_norm_of_each_domain():
    x, domains = data(5, CHANNELS, 4), np.array([1, 0, 1, 1, 0])
    weights, biases = np.stack([WEIGHT, 2 * WEIGHT]), np.stack([BIAS, -BIAS])
    found = batch_norms.domain_batch_norm(x, domains, weights, biases)
    shared = batch_norms.domain_batch_norm(x, domains, WEIGHT, BIAS)
    for domain in range(2):
        rows = domains == domain
        expected = norms.batch_norm(x[rows], weights[domain], biases[domain])
        assert_equal(found[rows], expected)
        assert_equal(shared[rows], norms.batch_norm(x[rows], WEIGHT, BIAS))


def test_domain_running_statistics_by_hand():
    batches = [array([0, 2], [4, 4]), array([6, 6])]
    domains = [np.array([0, 1]), np.array([1])]
    means, variances = batch_norms.domain_running_statistics(batches, domains, 3, update_rate=0.5)
    assert_equal(means, [0.5, 0.5 * 2 + 0.5 * 6, 0])
    assert_equal(variances, [0.5 * 1 + 0.5 * 2, 0.25, 1])
    found = batch_norms.domain_batch_norm(
        batches[0], domains[0], ONE, ZERO, (means, variances), eps=0.0
    )
    assert_equal(found, [-0.5 / sqrt(1.5), 1.5 / sqrt(1.5), 0, 0])


def test_unsupervised_batch_norm_by_hand():
    labelled, unlabelled = array([4, 6]), array([0], [2])
    found = batch_norms.unsupervised_batch_norm(labelled, unlabelled, ONE, ZERO, eps=4.0)
    assert_equal(found, [1 / 3, 1])
    alone = batch_norms.unsupervised_batch_norm(labelled, None, ONE, ZERO, eps=0.0)
    assert_equal(alone, [-1, 1])
    moved = batch_norms.unsupervised_running_statistics([(labelled, unlabelled)], update_rate=1.0)
    assert_equal(moved, [3, 20 / 3])


def test_switchable_norm_by_hand():
    x = np.array([[[0.0, 2.0], [6.0, 8.0]], [[4.0, 4.0], [0.0, 0.0]]])
    # of sample 0, channel 0: in 1, 1; ln 4, 10; bn 2.5, 2.75
    means, variances = np.log([0.5, 0.25, 0.25]), np.log([0.25, 0.25, 0.5])
    found = batch_norms.switchable_norm(x, means, variances, np.ones(2), np.zeros(2), eps=0.875)
    mean = 0.5 * 1 + 0.25 * 4 + 0.25 * 2.5
    assert_equal(found[0, 0], [-mean / sqrt(5), (2 - mean) / sqrt(5)])
    given = np.array([3.0, 0.0]), np.array([5.0, 0.0])
    evaluated = batch_norms.switchable_norm(
        x, means, variances, np.ones(2), np.zeros(2), given, eps=0.75
    )
    mean = 0.5 * 1 + 0.25 * 4 + 0.25 * 3
    assert_equal(evaluated[0, 0], [-mean / sqrt(6), (2 - mean) / sqrt(6)])


def test_renorm_limits():
    found = [
        batch_renorm.renorm_limits(step, 3.0, 5.0, warmup_steps=10, ramp_steps=20)
        for step in (0, 10, 15, 30, 99)
    ]
    assert found == [(1, 0), (1, 0), (1.5, 1.25), (3, 5), (3, 5)]
    assert batch_renorm.renorm_limits(0, 3.0, 5.0, warmup_steps=0, ramp_steps=0) == (3, 5)
    assert batch_renorm.renorm_limits(1, 3.0, 5.0, warmup_steps=0, ramp_steps=0) == (3, 5)


def test_batch_renorm_by_hand():
    x = array([0, 4])  # mean 2, variance 4
    arguments = x, 3 * ONE, ONE, np.array([1.0]), np.array([0.25])
    free = batch_renorm.batch_renorm(*arguments, r_max=9.0, d_max=9.0, eps=0.0)
    assert_equal(free, [3 * (0 - 1) / 0.5 + 1, 3 * (4 - 1) / 0.5 + 1])
    limited = batch_renorm.batch_renorm(*arguments, r_max=2.0, d_max=1.0, eps=0.0)
    assert_equal(limited, [3 * (-1 * 2 + 1) + 1, 3 * (1 * 2 + 1) + 1])
    r, d = batch_renorm.renorm_correction(x, 5 * ONE, 400 * ONE, 2.0, 0.1, eps=0.0)
    assert_equal([r, d], [0.5, -0.1])


def test_population_statistics_are_those_of_the_joined_batches():
    batches = [data(3, CHANNELS, 4), data(2, CHANNELS, 1, seed=1), 9 + data(5, CHANNELS, 2, seed=2)]
    mean, variance = population.population_statistics(batches)
    values = np.concatenate([np.moveaxis(x, 1, 0).reshape(CHANNELS, -1) for x in batches], axis=1)
    assert_equal(mean, values.mean(axis=1))
    assert_equal(variance, values.var(axis=1, ddof=1))
    biased = population.pooled_statistics(batches)
    assert_equal(biased, [values.mean(axis=1), values.var(axis=1)])


def test_population_statistics_are_precise_bns_formula():
    batches = [step + data(3, CHANNELS, 2, seed=step) for step in range(4)]
    means, variances = zip(*map(norms.channel_statistics, batches), strict=True)
    pooled = np.mean(np.square(means) + variances, axis=0) - np.mean(means, axis=0) ** 2
    mean, variance = population.population_statistics(batches)
    assert_equal(mean, np.mean(means, axis=0))
    assert_equal(variance, pooled * 24 / 23)


def group_covariance(y, groups, group):
    channels = np.split(np.moveaxis(y, 1, 0).reshape(CHANNELS, -1), groups)[group]
    return np.cov(channels, bias=True)


def correlated(seed=0):
    mixing = np.eye(CHANNELS) + 0.1 * np.random.default_rng(7).standard_normal((CHANNELS, CHANNELS))
    return np.einsum("ij,njs->nis", mixing, data(20, CHANNELS, 3, seed=seed)) + 3.0


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_whitening_gives_the_identity(groups):
    x, ones, zeros = correlated(), np.ones(CHANNELS), np.zeros(CHANNELS)
    zca = whitening.decorrelated_batch_norm(x, ones, zeros, groups, eps=0.0)
    newton = whitening.iter_norm(x, ones, zeros, groups, iterations=15, eps=0.0)
    assert_equal(newton, zca, rtol=1e-8, atol=1e-8)
    assert_equal(zca.mean(axis=(0, 2)), zeros)
    for group in range(groups):
        identity = np.eye(CHANNELS // groups)
        assert_equal(group_covariance(zca, groups, group), identity, atol=1e-10)
    affine = whitening.decorrelated_batch_norm(x, WEIGHT, BIAS, groups, eps=0.0)
    assert_equal(affine, norms.affine(zca, WEIGHT, BIAS))


def test_zca_is_the_symmetric_root_of_covariance_plus_eps():
    (covariance,) = whitening.group_covariances(correlated(), groups=1)
    assert_equal(covariance, group_covariance(correlated(), 1, 0))
    root = whitening.zca_root(covariance, eps=0.5)
    assert_equal(root, root.T)
    assert_equal(root @ root @ (covariance + 0.5 * np.eye(CHANNELS)), np.eye(CHANNELS), atol=1e-10)


def test_zca_by_hand():
    # covariance [[5, 4], [4, 5]]: eigenvalues 9 and 1
    root = whitening.zca_root(np.array([[4.0, 4.0], [4.0, 4.0]]), eps=1.0)
    assert_equal(root, [[2 / 3, -1 / 3], [-1 / 3, 2 / 3]])


def test_newton_by_hand():
    covariance = np.diag([1.0, 3.0])
    assert_equal(whitening.newton_root(covariance, iterations=0, eps=0.0), np.eye(2) / 2)
    one = np.diag([1.5 - 0.125, 1.5 - 0.375])
    assert_equal(whitening.newton_root(covariance, iterations=1, eps=0.0), one / 2)
    two = 1.5 * one - 0.5 * one**3 @ np.diag([0.25, 0.75])
    assert_equal(whitening.newton_root(covariance, iterations=2, eps=0.0), two / 2)
    shifted = whitening.newton_root(np.diag([0.5, 2.5]), iterations=2, eps=0.5)
    assert_equal(shifted, two / 2)


def test_numerical_gradient_is_autograds():
    x, cotangent = data(3, CHANNELS, 2), data(3, CHANNELS, 2, seed=1)
    found = numerical_gradient(lambda v: norms.batch_norm(v, WEIGHT, BIAS), x, cotangent)
    leaf = torch.from_numpy(x).requires_grad_()
    y = F.batch_norm(leaf, None, None, *tensors(WEIGHT, BIAS), training=True)
    y.backward(torch.from_numpy(cotangent))
    assert_equal(found, leaf.grad, rtol=1e-7, atol=1e-8)
