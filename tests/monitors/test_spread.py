import pytest
import torch

from ssl_norm.monitors import dead_dimensions, feature_std, std_per_dimension
from tests.monitors import samples
from tests.reference import monitors as reference


def test_even_spread_is_one():
    embeddings = torch.randn(4000, 64, generator=torch.Generator().manual_seed(0))
    assert feature_std(embeddings).item() == pytest.approx(1, abs=1e-2)
    assert feature_std(torch.cat([torch.eye(8), -torch.eye(8)])).item() == pytest.approx(1)


def test_gradients():
    embeddings = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(feature_std, embeddings)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_each_dimension_equals_loops(dtype):
    embeddings = samples.random(9, 5, dtype=dtype)
    expected = reference.std_per_dimension(embeddings.tolist())
    assert std_per_dimension(embeddings).tolist() == pytest.approx(expected, rel=1e-9)
    torch.testing.assert_close(std_per_dimension(embeddings).mean(), feature_std(embeddings))


@pytest.mark.parametrize("below", [0.05, 0.5, 1.0])
def test_dead_dimensions_equal_loops(below):
    embeddings = samples.random(50, 20) * torch.linspace(0, 1, 20)
    expected = reference.dead_dimensions(embeddings.tolist(), below)
    assert 0 < expected < 1
    assert dead_dimensions(embeddings, below).item() == pytest.approx(expected)


@pytest.mark.parametrize("dead", [0, 5, 19])
def test_dimensions_that_are_off_are_dead(dead):
    embeddings = torch.randn(200, 20, generator=torch.Generator().manual_seed(0))
    embeddings[:, :dead] = 0
    assert dead_dimensions(embeddings).item() == pytest.approx(dead / 20)


def test_all_dimensions_die_near_collapse():
    noise = torch.randn(500, 64, generator=torch.Generator().manual_seed(0))
    assert dead_dimensions(1 + 0.1 * noise).item() == 0
    assert dead_dimensions(1 + 0.01 * noise).item() == 1


def test_equals_lightly():
    debug = pytest.importorskip("lightly.utils.debug")
    embeddings = samples.random(50, 20)
    unbiased = debug.std_of_l2_normalized(embeddings).item()
    expected = unbiased * (49 / 50) ** 0.5 * 20**0.5
    assert feature_std(embeddings).item() == pytest.approx(expected, rel=1e-9)
