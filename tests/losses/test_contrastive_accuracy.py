import numpy as np
import pytest
import torch

from ssl_norm.losses import info_nce_accuracy, nt_xent_accuracy


def rows(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unit(z):
    z = z.numpy()
    return z / np.linalg.norm(z, axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(3))
def test_info_nce_accuracy_equals_counting(seed):
    q, queue = rows(40, 5, seed=seed), rows(30, 5, seed=seed + 20)
    k = q + 0.8 * rows(40, 5, seed=seed + 10)
    wins = [max(unit(queue) @ a) < b @ a for a, b in zip(unit(q), unit(k), strict=True)]
    assert 0 < np.mean(wins) < 1
    assert info_nce_accuracy(q, k, queue).item() == pytest.approx(np.mean(wins))


@pytest.mark.parametrize("seed", range(3))
def test_nt_xent_accuracy_equals_counting(seed):
    z1 = rows(20, 4, seed=seed)
    z2 = z1 + rows(20, 4, seed=seed + 10)
    z = unit(torch.cat([z1, z2]))
    wins = []
    for i, row in enumerate(z):
        other = (i + 20) % 40
        wins.append(all(row @ z[j] < row @ z[other] for j in range(40) if j not in (i, other)))
    assert 0 < np.mean(wins) < 1
    assert nt_xent_accuracy(z1, z2).item() == pytest.approx(np.mean(wins))


@pytest.mark.parametrize("dimension", [3, 32, 128, 256])
@pytest.mark.parametrize("seed", range(3))
def test_constant_embeddings_solve_nothing(dimension, seed):
    one = rows(1, dimension, seed=seed).float()
    z = one.expand(64, dimension)
    assert info_nce_accuracy(z, z, one.expand(1000, dimension)) == 0
    assert nt_xent_accuracy(z, z) == 0


def test_equal_views_of_distinct_images_are_always_found():
    z = torch.eye(4)
    assert info_nce_accuracy(z, z, -z) == 1
    assert nt_xent_accuracy(z, z) == 1
