import pytest
import torch

from ssl_norm.losses import regression_loss


def rows(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_known_values():
    x = torch.tensor([[1.0, 2.0]])
    assert regression_loss(x, 3 * x).item() == pytest.approx(0.0, abs=1e-13)
    assert regression_loss(x, -x).item() == pytest.approx(4.0)


def test_resolves_cosines_near_one_in_float32():
    t = torch.zeros(1, 2)
    t[0, 0] = 1.0
    p = torch.tensor([[1.0, 1e-4]])
    assert regression_loss(p, t).item() == pytest.approx(1e-8, rel=1e-3)


def test_invariant_to_row_lengths():
    p, t = rows(5, 4), rows(5, 4, seed=1)
    lengths = torch.arange(1.0, 6.0, dtype=torch.float64)[:, None]
    torch.testing.assert_close(regression_loss(lengths * p, t), regression_loss(p, t))


def test_message_names_both_shapes():
    message = r"prediction and target must have the same shape .* got \(3, 4\) and \(3, 5\)"
    with pytest.raises(ValueError, match=message):
        regression_loss(torch.zeros(3, 4), torch.zeros(3, 5))
