import pytest
import torch

from ssl_norm.monitors import (
    effective_rank,
    lidar,
    ne_sum,
    negative_cosine,
    participation_ratio,
    rank_me,
)
from tests.monitors import samples
from tests.reference import monitors as reference


@pytest.mark.parametrize("rank", [1, 2, 7, 20])
def test_equal_directions_count_one_each(rank):
    embeddings = samples.with_singular_values([3.0] * rank + [0.0] * (20 - rank), 50)
    for measure in (effective_rank, participation_ratio, ne_sum):
        assert measure(embeddings).item() == pytest.approx(rank, rel=1e-12)
    assert effective_rank(5 + embeddings).item() == pytest.approx(rank, rel=1e-6)
    assert rank_me(embeddings).item() == pytest.approx(rank, rel=1e-4)
    assert lidar(embeddings[:, None].expand(50, 2, 20)).item() == pytest.approx(rank, rel=1e-5)


def test_near_collapse_only_the_uncentred_rank_is_low():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(4096, 128, generator=generator, dtype=torch.float64)
    near_constant = 1 + 1e-3 * noise
    assert rank_me(noise) > 110
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


@pytest.mark.parametrize("shape", [(12, 3, 5), (12, 2, 12), (6, 3, 4), (5, 3, 20)])
def test_lidar_equals_its_definition(shape):
    views = samples.random(*shape)
    assert lidar(views).item() == pytest.approx(reference.lidar(views.tolist()), rel=1e-5)


def test_noise_within_images_discounts_a_direction():
    # Images vary equally in both directions; first the views agree, then they differ
    # ten times as much as images do along the second direction.
    images = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    away = torch.tensor([0.0, 10.0])
    same, other = ([images, images], [images + away, images - away])
    assert lidar(torch.stack(same, dim=1)).item() == pytest.approx(2, rel=1e-5)
    assert lidar(torch.stack(other, dim=1)).item() == pytest.approx(1, abs=1e-3)


def test_images_that_agree_have_no_rank():
    away = 1e-3 * samples.random(4, 20, seed=6)  # of views, the same for all images
    assert lidar((samples.random(20) + away - away.mean(0)).expand(30, 4, 20)).item() == 0


def test_bad_shapes():
    for shape in ((4, 1, 3), (1, 2, 3), (2, 2, 0), (4, 3), (2, 2, 2, 3)):
        with pytest.raises(ValueError, match=r"\(n >= 2, q >= 2, D\), got \(\d, "):
            lidar(torch.ones(shape))
