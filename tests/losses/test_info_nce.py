import pytest
import torch

from ssl_norm.losses import info_nce, nt_xent
from tests.reference.losses import info_nce as reference


def rows(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("temperature", [0.07, 1.0])
@pytest.mark.parametrize("K", [1, 9])
def test_other_temperatures_and_lengths_of_the_queue(K, temperature):
    q, k, queue = rows(5, 6), 3 * rows(5, 6, seed=1), rows(K, 6, seed=2)
    expected = reference(q.numpy(), k.numpy(), queue.numpy(), temperature)
    loss = info_nce(q, k, queue, temperature)
    torch.testing.assert_close(loss.item(), expected, rtol=1e-12, atol=0)


def test_other_keys_of_the_batch_are_no_negatives():
    q, k, queue = rows(5, 6), rows(5, 6, seed=1), rows(8, 6, seed=2)
    one_by_one = [info_nce(q[i : i + 1], k[i : i + 1], queue, 0.2) for i in range(5)]
    torch.testing.assert_close(info_nce(q, k, queue, 0.2), torch.stack(one_by_one).mean())


def test_two_images_of_nt_xent_are_one_positive_against_a_queue_of_two():
    z1, z2 = rows(2, 5), rows(2, 5, seed=1)
    terms = [
        info_nce(z1[:1], z2[:1], torch.stack([z1[1], z2[1]]), 0.5),
        info_nce(z1[1:], z2[1:], torch.stack([z1[0], z2[0]]), 0.5),
        info_nce(z2[:1], z1[:1], torch.stack([z1[1], z2[1]]), 0.5),
        info_nce(z2[1:], z1[1:], torch.stack([z1[0], z2[0]]), 0.5),
    ]
    torch.testing.assert_close(torch.stack(terms).mean(), nt_xent(z1, z2, 0.5))


@pytest.mark.parametrize("shape", [(8, 5), (0, 4), (4,)])
def test_queue_of_another_shape(shape):
    message = rf"queue must have shape \(K >= 1, D = 4\), got \({shape[0]}, ?"
    with pytest.raises(ValueError, match=message):
        info_nce(torch.ones(3, 4), torch.ones(3, 4), torch.ones(shape), 0.2)
