"""Whitening norms against NumPy in float64, and properties of whitening."""

import numpy as np
import pytest
import torch

from ssl_norm.norms import make_norm
from ssl_norm.norms.layers.whitening import DecorrelatedBatchNorm, IterativeNorm, whiten
from ssl_norm.norms.layers.whitening_roots import inverse_square_root

CHANNELS = 6
EPS = 1e-5
SHAPES = [(9, CHANNELS), (5, CHANNELS, 4), (5, CHANNELS, 3, 2), (5, CHANNELS, 2, 3, 2)]
each_kind = pytest.mark.parametrize("kind", [DecorrelatedBatchNorm, IterativeNorm])
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def data(*shape, seed=0, dtype=torch.float64):
    """Return correlated channels with a mean."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(shape[1], shape[1], generator=generator, dtype=torch.float64)
    x = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return (torch.einsum("nc...,dc->nd...", x, mixing) + 0.7).to(dtype).contiguous()


def observations(x):
    """Return (C, N * positions)."""
    return x.detach().double().transpose(0, 1).flatten(1).numpy()


def covariance_of(y, channels=slice(None)):
    return torch.from_numpy(np.cov(observations(y)[channels], ddof=0))


@pytest.mark.parametrize(
    ("kind", "options", "tolerance"),
    [(DecorrelatedBatchNorm, {}, 1e-4), (IterativeNorm, {"iterations": 20}, 1e-4)],
)
@each_shape
def test_whitened_groups_have_covariance_one(kind, options, tolerance, shape):
    layer = kind(CHANNELS, groups=2, affine=False, **options).double()
    y = layer(data(*shape))
    for channels in (slice(0, 3), slice(3, 6)):
        torch.testing.assert_close(
            covariance_of(y, channels), torch.eye(3, dtype=torch.float64), rtol=0, atol=tolerance
        )
    np.testing.assert_allclose(observations(y).mean(1), 0, atol=1e-9)


@each_kind
@pytest.mark.parametrize("training", [True, False])
def test_one_channel_a_group_is_batch_norm(kind, training):
    layer = kind(CHANNELS, groups=CHANNELS).double()
    batch_norm = make_norm("bn", CHANNELS).double()
    for seed in range(3):
        layer(data(5, CHANNELS, 3, 2, seed=seed))
        batch_norm(data(5, CHANNELS, 3, 2, seed=seed))
    x = data(5, CHANNELS, 3, 2, seed=4)
    y, expected = layer.train(training)(x), batch_norm.train(training)(x)
    torch.testing.assert_close(y, expected, rtol=1e-9, atol=1e-9)
    variances = layer.running_covariance.flatten()
    torch.testing.assert_close(variances, batch_norm.running_var, rtol=1e-12, atol=1e-12)


def symmetric(function):
    return lambda matrix, *numbers: function((matrix + matrix.mT) / 2, *numbers)


@pytest.mark.parametrize(
    "eigenvalues", [[1.0, 1.0, 1.0], [2.0, 2.0, 0.5], [1.0, 1.0 + 1e-9, 0.3], [3.0, 0.01, 0.01]]
)
def test_gradient_of_the_root_at_equal_eigenvalues(eigenvalues):
    rotation, _ = torch.linalg.qr(data(3, 3))
    matrix = (rotation * torch.tensor(eigenvalues, dtype=torch.float64)) @ rotation.T
    inputs = (matrix[None].requires_grad_(), EPS)
    assert torch.autograd.gradcheck(symmetric(inverse_square_root), inputs, atol=1e-4)


def test_third_derivatives_of_the_root():
    matrix = torch.eye(3).double() + data(3, 3).mul(0.1)
    matrix = (matrix + matrix.mT)[None].requires_grad_()

    def first(matrix):
        root = symmetric(inverse_square_root)(matrix, EPS)
        return torch.autograd.grad(root.pow(3).sum(), matrix, create_graph=True)[0]

    assert torch.autograd.gradgradcheck(first, matrix)


@each_kind
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("shape", "layout"),
    [((5, 6, 3, 2), torch.channels_last), ((5, 6, 2, 3, 2), torch.channels_last_3d)],
)
def test_memory_format_is_kept(kind, groups, training, shape, layout):
    layer, x = kind(CHANNELS, groups=groups).double().train(training), data(*shape)
    expected, y = layer(x), layer(x.contiguous(memory_format=layout))
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    assert expected.is_contiguous()
    assert y.is_contiguous(memory_format=layout)


@each_kind
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_tiles_of_samples_give_the_result_of_the_batch(kind, training, layout, monkeypatch):
    layer = kind(CHANNELS, groups=2).double()
    layer(data(5, CHANNELS, 3, 2, seed=1))
    x = data(5, CHANNELS, 3, 2).contiguous(memory_format=layout).requires_grad_()
    results = []
    for elements in (1, 2 * x[0].numel(), x.numel()):  # tiles of 1, 2 and 5 samples
        monkeypatch.setattr("ssl_norm.norms.layers.whitening.TILE_ELEMENTS", elements)
        y = layer.train(training)(x)
        dy = data(5, CHANNELS, 3, 2, seed=2)  # contiguous, whatever the layout of x
        results.append((y, *torch.autograd.grad(y, (x, *layer.parameters()), dy)))
    for one, other in zip(results[0] + results[1], results[2] * 2, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
        assert one.stride() == other.stride()


@each_kind
@pytest.mark.parametrize("shape", [(9, CHANNELS), (5, CHANNELS, 3, 2)], ids=str)
def test_gradients_through_the_returned_statistics(kind, shape):
    layer = kind(CHANNELS, groups=2)
    affine = [data(CHANNELS, 1, seed=seed)[:, 0].requires_grad_() for seed in (1, 2)]

    def function(x, weight, bias):
        return whiten(x, 2, layer.whitening_matrix, None, weight, bias)

    inputs = (data(*shape).requires_grad_(), *affine)
    assert torch.autograd.gradcheck(function, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)
    assert torch.autograd.gradcheck(lambda *given: function(*given)[1:], inputs)


@each_kind
def test_running_statistics_may_move_before_the_backward_of_evaluation(kind):
    layer, x = kind(CHANNELS, groups=2).eval(), data(9, CHANNELS, 2, 2).float().requires_grad_()
    expected = torch.autograd.grad(layer(x).square().sum(), x)
    y = layer(x)
    layer.train()(data(9, CHANNELS, 2, 2, seed=1).float())
    torch.testing.assert_close(torch.autograd.grad(y.square().sum(), x), expected)


@each_kind
@pytest.mark.parametrize("shape", [(200, CHANNELS), (20, CHANNELS, 5, 2)], ids=str)
def test_a_large_mean_costs_no_precision(kind, shape):
    x = data(*shape)
    far = (x + 1000).float()
    y = kind(CHANNELS)(far).double()
    torch.testing.assert_close(y, kind(CHANNELS).double()(far.double()), rtol=1e-3, atol=2e-3)


@each_kind
def test_fewer_observations_than_channels(kind):
    layer, x = kind(CHANNELS, groups=1, affine=False).double(), data(3, CHANNELS)
    y = layer(x)
    assert torch.linalg.matrix_rank(y, rtol=1e-6) == torch.linalg.matrix_rank(x - x.mean(0)) == 2
    if kind is DecorrelatedBatchNorm:  # the two directions that the batch fills are white
        spectrum = torch.linalg.eigvalsh(covariance_of(y))
        expected = torch.tensor([0, 0, 0, 0, 1, 1], dtype=torch.float64)
        torch.testing.assert_close(spectrum, expected, rtol=0, atol=1e-3)
    assert layer.eval()(data(4, CHANNELS, seed=5)).isfinite().all()


@each_kind
@pytest.mark.parametrize("scale", [1, 1000])
@pytest.mark.parametrize("rows", [16, 200])
def test_float32_vectors_of_low_rank_agree_with_float64(kind, scale, rows):
    x = (scale * data(rows, 8) @ data(8, 64)).float()
    weight = data(rows, 64, seed=1)
    results = []
    for dtype in (torch.float32, torch.float64):
        leaf = x.detach().to(dtype).requires_grad_()
        y = kind(64, groups=1).to(dtype)(leaf)
        (y * weight).sum().backward()
        results.append((y.double(), leaf.grad.double() * scale))
    for single, double in zip(*results, strict=True):
        assert (single - double).norm() < 1e-5 * double.norm()


@each_kind
def test_constant_input_becomes_the_bias(kind):
    x = torch.full((4, CHANNELS, 2, 2), 3.0, requires_grad=True)
    y = kind(CHANNELS)(x)
    y.sum().backward()
    assert torch.equal(y, torch.zeros_like(x))
    assert x.grad.isfinite().all()


@each_kind
def test_values_that_are_not_finite_pass_through_as_nan(kind):
    x = data(9, CHANNELS)
    x[0, 0] = torch.nan
    y = kind(CHANNELS, groups=2).double()(x)
    assert y[:, :3].isnan().all()
    assert y[:, 3:].isfinite().all()


def test_default_groups():
    assert [DecorrelatedBatchNorm(C).groups for C in (64, 24, 7, 17)] == [4, 2, 1, 17]
    assert [IterativeNorm(C).groups for C in (512, 96, 16)] == [8, 2, 1]
