import pytest
import torch

from ssl_norm.losses import regression_loss


def test_resolves_cosines_near_one_in_float32():
    target, prediction = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 1e-4]])
    assert regression_loss(prediction, target).item() == pytest.approx(1e-8, rel=1e-3)
