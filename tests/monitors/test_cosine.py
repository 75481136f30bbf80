import pytest
import torch

from ssl_norm.monitors import positive_negative_cosine
from tests.reference import monitors as reference


def pair(count=9, size=5, dtype=torch.float64, noise=1.0, seed=0):
    """Return embeddings around a common direction; the less noise, the nearer to collapse."""
    generator = torch.Generator().manual_seed(seed)
    center = torch.randn(size, generator=generator, dtype=torch.float64)
    views = torch.randn(2, count, size, generator=generator, dtype=torch.float64)
    online, target = (center + noise * views).to(dtype)
    return online, target


def test_float32_resolves_the_edge_of_collapse():
    online, target = pair(64, 32, dtype=torch.float32, noise=1e-3)
    expected = reference.positive_negative_cosine(online.tolist(), target.tolist())
    for value, exact in zip(positive_negative_cosine(online, target), expected, strict=True):
        assert 1e-7 < 1 - exact < 1e-5
        assert 1 - value.item() == pytest.approx(1 - exact, rel=1e-6)


def test_known_values():
    orthogonal = torch.eye(4)
    assert [v.item() for v in positive_negative_cosine(orthogonal, orthogonal)] == [1, 0]
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert [v.item() for v in positive_negative_cosine(opposite, opposite)] == [1, -1]
    zeros = torch.zeros(3, 4)
    assert [v.item() for v in positive_negative_cosine(zeros, zeros)] == [0, 0]


def test_online_and_target_may_swap():
    online, target = pair()
    expected = positive_negative_cosine(online, target)
    swapped = positive_negative_cosine(target, online)
    torch.testing.assert_close(swapped, expected, rtol=1e-12, atol=0)


def test_gradients():
    online, target = (view.requires_grad_() for view in pair(4, 3))
    assert torch.autograd.gradcheck(positive_negative_cosine, (online, target))
