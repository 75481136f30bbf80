import pytest
import torch

from ssl_norm.monitors import lidar
from tests.monitors import samples
from tests.reference import monitors as reference


def views_of(images, noise=1e-3, q=4):
    """Return (n, q, D): views that differ by little, and not by image."""
    n, size = images.shape
    away = noise * samples.random(q, size, seed=6)
    return images[:, None] + (away - away.mean(0)).expand(n, q, size)


@pytest.mark.parametrize(("n", "q", "size"), [(12, 3, 5), (12, 2, 12), (6, 3, 4)])
@pytest.mark.parametrize("delta", [1e-4, 1.0])
def test_equals_its_definition(n, q, size, delta):
    views = samples.random(n, q, size)
    expected = reference.lidar(views.tolist(), delta)
    assert lidar(views, delta).item() == pytest.approx(expected, rel=1e-6)


def test_more_dimensions_than_images():
    views = samples.random(5, 3, 20)
    assert lidar(views).item() == pytest.approx(reference.lidar(views.tolist()), rel=1e-5)


@pytest.mark.parametrize("rank", [1, 3, 10])
def test_images_along_equal_directions_count_one_each(rank):
    images = samples.with_singular_values([3.0] * rank + [0.0] * (10 - rank), 50)
    views = images[:, None].expand(50, 2, 10)
    assert lidar(views).item() == pytest.approx(rank, rel=1e-5)


def test_noise_within_images_discounts_a_direction():
    # Images vary alike in both directions; in the first case views agree, in the second they differ
    # ten times as much as images do along the second direction.
    images = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    away = torch.tensor([0.0, 10.0])
    assert lidar(torch.stack([images, images], dim=1)).item() == pytest.approx(2, rel=1e-5)
    assert lidar(torch.stack([images + away, images - away], dim=1)).item() == pytest.approx(
        1, abs=1e-3
    )


def test_images_that_agree_have_no_rank():
    views = views_of(samples.random(20).expand(30, 20))
    assert lidar(views).item() == 0


def test_bad_arguments():
    views = samples.random(4, 2, 3)
    for shape in ((4, 1, 3), (1, 2, 3), (2, 2, 0), (4, 3), (2, 2, 2, 3)):
        with pytest.raises(ValueError, match=r"\(n >= 2, q >= 2, D\), got \(\d, "):
            lidar(torch.ones(shape))
    with pytest.raises(ValueError, match="delta and eps must be positive, got 0 and 1e-08"):
        lidar(views, delta=0)
