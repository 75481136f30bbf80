import pytest
import torch

from ssl_norm.data.moons import two_moons


def test_every_moon_has_its_labels_and_half_of_the_other_points():
    moons = two_moons(3, 101, noise=0.1, seed=4)
    assert moons.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert torch.bincount(moons.truth).tolist() == [50, 51]
    assert moons.labelled.shape == (6, 2)
    assert moons.unlabelled.dtype == torch.float32
    together = torch.cat([moons.labelled, moons.unlabelled])
    assert len(together.unique(dim=0)) == 107


def test_without_noise_points_lie_on_their_half_circles():
    moons = two_moons(2, 40, noise=0.0, seed=0)
    points = torch.cat([moons.labelled, moons.unlabelled])
    labels = torch.cat([moons.labels, moons.truth])
    centres = torch.tensor([[0.0, 0.0], [1.0, 0.5]])[labels]
    torch.testing.assert_close((points - centres).norm(dim=1), torch.ones(44))
    assert (points[labels == 0, 1] > -1e-6).all()
    assert (points[labels == 1, 1] < 0.5 + 1e-6).all()


def test_the_seed_decides():
    first, again, other = (two_moons(2, 20, noise=0.1, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.unlabelled, again.unlabelled)
    assert not torch.equal(first.labelled, other.labelled)


@pytest.mark.parametrize("counts", [(0, 10), (2, 0)])
def test_no_points_of_a_kind(counts):
    with pytest.raises(ValueError, match=f"got {counts[0]} and {counts[1]}"):
        two_moons(*counts, noise=0.1, seed=0)
