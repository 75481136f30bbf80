import math

import pytest
import torch
from torch.autograd import gradcheck

from ssl_norm.losses import nt_xent
from tests.reference.losses import nt_xent as reference


def rows(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("N", [2, 7])
def test_equals_reference(N, temperature):
    z1, z2 = rows(N, 5), 4 * rows(N, 5, seed=1)
    expected = reference(z1.numpy(), z2.numpy(), temperature)
    torch.testing.assert_close(nt_xent(z1, z2, temperature).item(), expected, rtol=1e-12, atol=0)


def test_gradients():
    z1, z2 = rows(4, 3).requires_grad_(), rows(4, 3, seed=1).requires_grad_()
    assert gradcheck(lambda a, b: nt_xent(a, b, 0.5), (z1, z2))


def test_value_at_complete_collapse():
    z = torch.ones(9, 4, dtype=torch.float64).requires_grad_()
    loss = nt_xent(z, z, 0.2)
    loss.backward()
    torch.testing.assert_close(loss.item(), math.log(2 * 9 - 1), rtol=1e-12, atol=0)
    assert torch.isfinite(z.grad).all()


def test_only_the_row_itself_is_excluded():
    # Equal views of two orthogonal images: one other row at similarity 1, two at 0.
    z = torch.eye(2, dtype=torch.float64)
    expected = -math.log(math.e / (math.e + 2))
    torch.testing.assert_close(nt_xent(z, z, 1.0).item(), expected, rtol=1e-12, atol=0)


def test_invariances():
    z1, z2 = rows(6, 4), rows(6, 4, seed=1)
    loss = nt_xent(z1, z2, 0.3)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    rotation = torch.linalg.qr(rows(4, 4, seed=2)).Q
    torch.testing.assert_close(nt_xent(z2, z1, 0.3), loss)
    torch.testing.assert_close(nt_xent(z1[order], z2[order], 0.3), loss)
    torch.testing.assert_close(nt_xent(z1 @ rotation, 7 * z2 @ rotation, 0.3), loss)


def test_autocast_changes_nothing():
    z1, z2 = rows(8, 16, dtype=torch.float32), rows(8, 16, seed=1, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = nt_xent(z1, z2, 0.1)
    assert torch.equal(under_autocast, nt_xent(z1, z2, 0.1))


def test_float64_is_kept_and_half_is_widened():
    z1, z2 = rows(3, 4), rows(3, 4, seed=1)
    assert nt_xent(z1, z2, 0.5).dtype == torch.float64
    assert nt_xent(z1.bfloat16(), z2.bfloat16(), 0.5).dtype == torch.float32


def test_one_image_has_no_negatives():
    with pytest.raises(ValueError, match=r"shape \(N >= 2, D\), got \(1, 4\)"):
        nt_xent(torch.ones(1, 4), torch.ones(1, 4), 0.5)


def test_shapes_that_differ():
    with pytest.raises(ValueError, match=r"got \(3, 4\) and \(4, 4\)"):
        nt_xent(torch.ones(3, 4), torch.ones(4, 4), 0.5)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_temperature_must_be_positive(temperature):
    with pytest.raises(ValueError, match="temperature must be positive, got"):
        nt_xent(torch.ones(3, 4), torch.ones(3, 4), temperature)
