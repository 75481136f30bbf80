import pytest
import torch

from ssl_norm.monitors import effective_rank, negative_cosine, rank_me
from tests.monitors import samples


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_equal_directions_count_one_each(rank):
    basis, _ = torch.linalg.qr(torch.randn(20, 20, dtype=torch.float64))
    embeddings = (
        5 * basis[:, :rank] @ torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64)).Q[:rank]
    )
    assert rank_me(embeddings).item() == pytest.approx(rank, rel=1e-4)


def test_common_direction_is_not_removed():
    noise = torch.randn(500, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert rank_me(noise) > 55
    assert rank_me(1 + 1e-3 * noise) < 2


@pytest.mark.parametrize("rank", [1, 2, 7, 20])
def test_effective_rank_counts_equal_directions(rank):
    embeddings = samples.with_singular_values([3.0] * rank + [0.0] * (20 - rank), 50)
    assert effective_rank(embeddings).item() == pytest.approx(rank, rel=1e-12)
    assert effective_rank(5 + embeddings).item() == pytest.approx(rank, rel=1e-6)


def test_near_collapse_only_the_uncentred_rank_is_low():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(4096, 128, generator=generator, dtype=torch.float64)
    near_constant = 1 + 1e-3 * noise
    assert negative_cosine(near_constant, near_constant) > 0.99999
    assert rank_me(near_constant).item() == pytest.approx(1.12, abs=0.06)
    assert effective_rank(near_constant) > 126


@pytest.mark.parametrize("noise", [1e-5, 1e-7, 1e-9, 1e-12])
def test_rank_me_falls_to_one(noise):
    generator = torch.Generator().manual_seed(0)
    embeddings = 1 + noise * torch.randn(300, 64, generator=generator, dtype=torch.float64)
    expected = torch.linalg.svdvals(embeddings)
    share = expected / expected.sum() + 1e-7
    exact = (-(share * share.log()).sum()).exp().item()
    assert rank_me(embeddings).item() == pytest.approx(exact, rel=1e-4)
