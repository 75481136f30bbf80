import pytest
import torch
from torch.autograd import gradcheck

from ssl_norm.losses import regression_loss
from tests.reference.losses import regression_loss as reference


def rows(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_equals_reference():
    p, t = rows(7, 5), rows(7, 5, seed=1) * 30
    expected = reference(p.numpy(), t.numpy())
    torch.testing.assert_close(regression_loss(p, t).item(), expected, rtol=1e-12, atol=0)


def test_gradients():
    p, t = rows(4, 3).requires_grad_(), rows(4, 3, seed=1).requires_grad_()
    assert gradcheck(regression_loss, (p, t))


def test_known_values():
    x = torch.tensor([[1.0, 2.0]])
    assert regression_loss(x, 3 * x).item() == pytest.approx(0.0, abs=1e-13)
    assert regression_loss(x, -x).item() == pytest.approx(4.0)


def test_zero_with_finite_gradient_at_complete_collapse():
    p = torch.ones(6, 8).requires_grad_()
    loss = regression_loss(p, torch.ones(6, 8))
    loss.backward()
    assert loss.item() == 0.0
    assert torch.isfinite(p.grad).all()


def test_resolves_cosines_near_one_in_float32():
    t = torch.zeros(1, 2)
    t[0, 0] = 1.0
    p = torch.tensor([[1.0, 1e-4]])
    assert regression_loss(p, t).item() == pytest.approx(1e-8, rel=1e-3)


def test_invariant_to_row_lengths():
    p, t = rows(5, 4), rows(5, 4, seed=1)
    lengths = torch.arange(1.0, 6.0, dtype=torch.float64)[:, None]
    torch.testing.assert_close(regression_loss(lengths * p, t), regression_loss(p, t))


def test_float64_is_kept_and_half_is_widened():
    p, t = rows(3, 4), rows(3, 4, seed=1)
    assert regression_loss(p, t).dtype == torch.float64
    assert regression_loss(p.bfloat16(), t.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("shapes", [((3, 4), (3, 5)), ((4,), (4,)), ((0, 4), (0, 4))])
def test_shapes_that_do_not_fit(shapes):
    p, t = (torch.zeros(shape) for shape in shapes)
    with pytest.raises(ValueError, match="prediction and target must have the same shape") as error:
        regression_loss(p, t)
    assert str(shapes[0]) in str(error.value)
