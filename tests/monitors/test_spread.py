import pytest
import torch

from ssl_norm.monitors import (
    dead_dimensions,
    feature_std,
    off_diagonal_correlation,
    std_per_dimension,
)
from tests.monitors import samples
from tests.reference import monitors as reference


def test_even_spread_is_one():
    embeddings = torch.randn(4000, 64, generator=torch.Generator().manual_seed(0))
    assert feature_std(embeddings).item() == pytest.approx(1, abs=1e-2)
    assert feature_std(torch.cat([torch.eye(8), -torch.eye(8)])).item() == pytest.approx(1)
    embeddings = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(feature_std, embeddings)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_each_dimension_equals_loops(dtype):
    embeddings = samples.random(9, 5, dtype=dtype)
    expected = reference.std_per_dimension(embeddings.tolist())
    assert std_per_dimension(embeddings).tolist() == pytest.approx(expected, rel=1e-9)
    torch.testing.assert_close(std_per_dimension(embeddings).mean(), feature_std(embeddings))


def test_dead_dimensions_equal_loops():
    embeddings = samples.random(50, 20) * torch.linspace(0, 1, 20)
    expected = reference.dead_dimensions(embeddings.tolist())
    assert 0 < expected < 1
    assert dead_dimensions(embeddings).item() == pytest.approx(expected)


def test_dimensions_that_are_off_are_dead_and_all_near_collapse():
    embeddings = torch.randn(200, 20, generator=torch.Generator().manual_seed(0))
    for dead in (0, 5, 19):
        embeddings[:, :dead] = 0
        assert dead_dimensions(embeddings).item() == pytest.approx(dead / 20)
    noise = torch.randn(500, 64, generator=torch.Generator().manual_seed(0))
    assert dead_dimensions(1 + 0.1 * noise).item() == 0
    assert dead_dimensions(1 + 0.01 * noise).item() == 1


def test_one_line_is_one_and_orthogonal_dimensions_are_zero():
    line = samples.random(50, 1) * samples.random(1, 20) + samples.random(1, 20, seed=1)
    assert off_diagonal_correlation(line).item() == pytest.approx(1, rel=1e-9)
    cross = torch.cat([torch.eye(20), -torch.eye(20)])
    assert off_diagonal_correlation(cross).item() == 0


def test_dimensions_that_do_not_vary_correlate_with_none():
    varying = samples.random(50, 1)
    copies = torch.cat([varying, varying, torch.full((50, 2), 0.1)], dim=1)
    assert off_diagonal_correlation(copies).item() == pytest.approx((2 / 12) ** 0.5)


def test_spread_of_dimensions_does_not_matter():
    embeddings = samples.random(50, 20)
    spread = 10.0 ** torch.linspace(-20, 20, 20, dtype=torch.float64)
    torch.testing.assert_close(
        off_diagonal_correlation(embeddings * spread), off_diagonal_correlation(embeddings)
    )
    embeddings = torch.randn(400, 50, generator=torch.Generator().manual_seed(0))
    assert off_diagonal_correlation(embeddings).item() == pytest.approx(1 / 20, rel=0.05)


def test_more_dimensions_than_rows():
    embeddings = samples.random(8, 30)
    expected = reference.off_diagonal_correlation(embeddings.tolist())
    assert off_diagonal_correlation(embeddings).item() == pytest.approx(expected, rel=1e-9)
    dead = torch.cat([embeddings, torch.full((8, 30), 3.0)], dim=1)
    pairs = (30 * 29) / (60 * 59)
    assert off_diagonal_correlation(dead).item() == pytest.approx(expected * pairs**0.5, rel=1e-9)
    assert off_diagonal_correlation(torch.ones(8, 30)).item() == 0


def test_wide_embeddings_need_no_table_of_dimensions():
    measured = off_diagonal_correlation(torch.randn(4, 200_000))  # D x D would be 320 GB
    assert measured.item() == pytest.approx(3**-0.5, rel=0.05)
