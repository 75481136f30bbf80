import pytest
import torch

from ssl_norm.monitors import rank_me
from tests.reference import monitors as reference


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mean", [0.0, 1.0, 1000.0])
def test_equals_its_definition(dtype, mean):
    embeddings = (mean + torch.randn(9, 5, generator=torch.Generator().manual_seed(0))).to(dtype)
    expected = reference.rank_me(embeddings.tolist())
    assert rank_me(embeddings).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_equal_directions_count_one_each(rank):
    basis, _ = torch.linalg.qr(torch.randn(20, 20, dtype=torch.float64))
    embeddings = (
        5 * basis[:, :rank] @ torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64)).Q[:rank]
    )
    assert rank_me(embeddings).item() == pytest.approx(rank, rel=1e-4)


def test_collapse_is_one():
    row = torch.tensor([[0.3, -2.0, 5.0]])
    assert rank_me(row.repeat(8, 1)).item() == pytest.approx(1, rel=1e-4)
    assert rank_me(torch.zeros(8, 3)).item() == 1


def test_common_direction_is_not_removed():
    noise = torch.randn(500, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert rank_me(noise) > 55
    assert rank_me(1 + 1e-3 * noise) < 2


def test_wrong_shape():
    with pytest.raises(ValueError, match=r"embeddings must have shape \(N >= 2, D\), got \(1, 4\)"):
        rank_me(torch.ones(1, 4))
