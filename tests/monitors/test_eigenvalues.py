import pytest
import torch

from ssl_norm.monitors.eigenvalues import squared_singular_values
from tests.monitors import samples


@pytest.mark.parametrize(("count", "size"), [(60, 7), (7, 60), (9, 9)])
def test_equals_singular_values(count, size):
    rows = samples.random(count, size)
    expected = torch.linalg.svdvals(rows).square() / count
    torch.testing.assert_close(squared_singular_values(rows), expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("rank", [1, 2, 5, 40])
@pytest.mark.parametrize(("count", "size"), [(300, 50), (50, 300)])
def test_a_matrix_of_rank_r_has_r_eigenvalues(rank, count, size):
    rows = samples.random(count, rank) @ samples.random(rank, size, seed=1)
    eigenvalues = squared_singular_values(rows)
    assert eigenvalues.shape == (50,)
    assert (eigenvalues > 0).sum() == rank
    assert (eigenvalues >= 0).all()


def test_resolution():
    singular_values = torch.tensor([1.0, 1e-3, 1e-6, 1e-9], dtype=torch.float64)
    eigenvalues = squared_singular_values(samples.with_singular_values(singular_values, 4 + 1))
    torch.testing.assert_close(
        (5 * eigenvalues).sqrt(),
        torch.tensor([1.0, 1e-3, 1e-6, 0], dtype=torch.float64),
        rtol=1e-3,
        atol=0,
    )


def test_floor():
    rows = torch.diag(torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64))
    assert squared_singular_values(rows, floor=1.0).tolist() == pytest.approx([16 / 3, 4 / 3, 0])
