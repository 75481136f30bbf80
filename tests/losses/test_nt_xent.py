import math

import pytest
import torch

from ssl_norm.losses import nt_xent
from tests.reference.losses import nt_xent as reference


def rows(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_two_images_and_other_temperatures(temperature):
    z1, z2 = rows(2, 5), 4 * rows(2, 5, seed=1)
    expected = reference(z1.numpy(), z2.numpy(), temperature)
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
