import math

import pytest
import torch
from torch.autograd import gradcheck

from ssl_norm.losses import info_nce, nt_xent
from tests.reference.losses import info_nce as reference


def rows(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("temperature", [0.07, 0.2, 1.0])
@pytest.mark.parametrize("K", [1, 9])
def test_equals_reference(K, temperature):
    q, k, queue = rows(5, 6), 3 * rows(5, 6, seed=1), rows(K, 6, seed=2)
    expected = reference(q.numpy(), k.numpy(), queue.numpy(), temperature)
    loss = info_nce(q, k, queue, temperature)
    torch.testing.assert_close(loss.item(), expected, rtol=1e-12, atol=0)


def test_gradients():
    q, k, queue = (rows(n, 3, seed=n).requires_grad_() for n in (4, 4, 6))
    assert gradcheck(lambda *x: info_nce(*x, 0.2), (q, k, queue))


def test_value_at_complete_collapse():
    q = torch.ones(3, 4, dtype=torch.float64).requires_grad_()
    loss = info_nce(q, torch.ones_like(q), torch.ones(16, 4), 0.07)
    loss.backward()
    torch.testing.assert_close(loss.item(), math.log(16 + 1), rtol=1e-12, atol=0)
    assert torch.isfinite(q.grad).all()


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


def test_autocast_changes_nothing():
    q, k, queue = (rows(n, 16, seed=n, dtype=torch.float32) for n in (8, 8, 32))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = info_nce(q, k, queue, 0.1)
    assert torch.equal(under_autocast, info_nce(q, k, queue, 0.1))


def test_float64_is_kept_and_half_is_widened():
    q, k, queue = rows(3, 4), rows(3, 4, seed=1), rows(6, 4, seed=2)
    assert info_nce(q, k, queue, 0.5).dtype == torch.float64
    half = (x.bfloat16() for x in (q, k, queue))
    assert info_nce(*half, 0.5).dtype == torch.float32


def test_queue_of_other_width():
    with pytest.raises(ValueError, match=r"queue must have shape \(K >= 1, D = 4\), got \(8, 5\)"):
        info_nce(torch.ones(3, 4), torch.ones(3, 4), torch.ones(8, 5), 0.2)


def test_shapes_that_differ():
    with pytest.raises(ValueError, match=r"queries and keys .* got \(3, 4\) and \(2, 4\)"):
        info_nce(torch.ones(3, 4), torch.ones(2, 4), torch.ones(8, 4), 0.2)


def test_temperature_must_be_positive():
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        info_nce(torch.ones(3, 4), torch.ones(3, 4), torch.ones(8, 4), 0)
