import math

import pytest
import torch

from ssl_norm_example.cosine_loss import cosine_loss


def reference(prediction, target):
    cosines = []
    for p, t in zip(prediction.tolist(), target.tolist(), strict=True):
        product = sum(a * b for a, b in zip(p, t, strict=True))
        cosines.append(product / math.hypot(*p) / math.hypot(*t))
    return -sum(cosines) / len(cosines)


def test_known_values():
    x = torch.tensor([[1.0, 2.0]])
    assert cosine_loss(x, -3 * x).item() == pytest.approx(1.0)
