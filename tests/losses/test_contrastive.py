import math
from itertools import product

import numpy as np
import pytest
import torch

from ssl_norm.losses import info_nce, info_nce_accuracy, nt_xent, nt_xent_accuracy
from tests.reference import losses as reference


def rows(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_two_images_and_other_temperatures(temperature):
    z1, z2 = rows(2, 5), 4 * rows(2, 5, seed=1)
    expected = reference.nt_xent(z1.numpy(), z2.numpy(), temperature)
    torch.testing.assert_close(nt_xent(z1, z2, temperature).item(), expected, rtol=1e-12, atol=0)


def test_only_the_row_itself_is_excluded():
    # Equal views of two orthogonal images: one other row at similarity 1, two at 0.
    z = torch.eye(2, dtype=torch.float64)
    expected = -math.log(math.e / (math.e + 2))
    torch.testing.assert_close(nt_xent(z, z, 1.0).item(), expected, rtol=1e-12, atol=0)


def test_views_are_exchangeable_and_rotations_do_not_matter():
    z1, z2 = rows(6, 4), rows(6, 4, seed=1)
    loss = nt_xent(z1, z2, 0.3)
    rotation = torch.linalg.qr(rows(4, 4, seed=2)).Q
    torch.testing.assert_close(nt_xent(z2, z1, 0.3), loss)
    torch.testing.assert_close(nt_xent(z1 @ rotation, 7 * z2 @ rotation, 0.3), loss)


def test_one_image_has_no_negatives():
    with pytest.raises(ValueError, match=r"shape \(N >= 2, D\), got \(1, 4\)"):
        nt_xent(torch.ones(1, 4), torch.ones(1, 4), 0.5)


@pytest.mark.parametrize("temperature", [0.07, 1.0])
@pytest.mark.parametrize("K", [1, 9])
def test_other_temperatures_and_lengths_of_the_queue(K, temperature):
    q, k, queue = rows(5, 6), 3 * rows(5, 6, seed=1), rows(K, 6, seed=2)
    expected = reference.info_nce(q.numpy(), k.numpy(), queue.numpy(), temperature)
    loss = info_nce(q, k, queue, temperature)
    torch.testing.assert_close(loss.item(), expected, rtol=1e-12, atol=0)


def test_other_keys_of_the_batch_are_no_negatives():
    q, k, queue = rows(5, 6), rows(5, 6, seed=1), rows(8, 6, seed=2)
    one_by_one = [info_nce(q[i : i + 1], k[i : i + 1], queue, 0.2) for i in range(5)]
    torch.testing.assert_close(info_nce(q, k, queue, 0.2), torch.stack(one_by_one).mean())


def test_two_images_of_nt_xent_are_one_positive_against_a_queue_of_two():
    views = rows(2, 5), rows(2, 5, seed=1)
    terms = []
    for image, view in product((0, 1), repeat=2):
        queue = torch.stack([z[1 - image] for z in views])
        own, other = views[view][image], views[1 - view][image]
        terms.append(info_nce(own[None], other[None], queue, 0.5))
    torch.testing.assert_close(torch.stack(terms).mean(), nt_xent(*views, 0.5))


@pytest.mark.parametrize("shape", [(8, 5), (0, 4), (4,)])
def test_queue_of_another_shape(shape):
    message = rf"queue must have shape \(K >= 1, D = 4\), got \({shape[0]}, ?"
    with pytest.raises(ValueError, match=message):
        info_nce(torch.ones(3, 4), torch.ones(3, 4), torch.ones(shape), 0.2)


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
def test_constant_embeddings_solve_nothing_and_equal_views_are_found(dimension, seed):
    one = rows(1, dimension, seed=seed).float()
    z = one.expand(64, dimension)
    assert info_nce_accuracy(z, z, one.expand(1000, dimension)) == 0
    assert nt_xent_accuracy(z, z) == 0
    z = torch.eye(4)
    assert info_nce_accuracy(z, z, -z) == 1
    assert nt_xent_accuracy(z, z) == 1
