import numpy as np
import pytest
import torch

from ssl_norm.monitors import off_diagonal_correlation
from tests.monitors import samples
from tests.reference import monitors as reference


def test_equals_numpy():
    embeddings = 10 + samples.random(9, 5)
    matrix = np.corrcoef(embeddings.numpy(), rowvar=False)
    expected = np.sqrt(np.mean(matrix[~np.eye(5, dtype=bool)] ** 2))
    assert off_diagonal_correlation(embeddings).item() == pytest.approx(expected)


def test_one_line_is_one():
    line = samples.random(50, 1) * samples.random(1, 20) + samples.random(1, 20, seed=1)
    assert off_diagonal_correlation(line).item() == pytest.approx(1, rel=1e-9)


def test_orthogonal_dimensions_are_zero():
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


def test_independent_dimensions():
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
