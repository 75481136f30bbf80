import pytest
import torch

from ssl_norm.losses import regression_loss


def test_resolves_cosines_near_one_in_float32():
    target, prediction = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 1e-4]])
    assert regression_loss(prediction, target).item() == pytest.approx(1e-8, rel=1e-3)


def test_known_values():
    x = torch.tensor([[1.0, 2.0]])
    assert regression_loss(x, 3 * x).item() == pytest.approx(0.0, abs=1e-13)
    assert regression_loss(x, -x).item() == pytest.approx(4.0)
