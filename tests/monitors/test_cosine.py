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


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("noise", [1.0, 1e-2])
def test_equals_loops(dtype, noise):
    online, target = pair(dtype=dtype, noise=noise)
    expected = reference.positive_negative_cosine(online.tolist(), target.tolist())
    measured = [value.item() for value in positive_negative_cosine(online, target)]
    assert measured == pytest.approx(expected, rel=1e-12)


def test_float32_resolves_the_edge_of_collapse():
    online, target = pair(64, 32, dtype=torch.float32, noise=1e-3)
    expected = reference.positive_negative_cosine(online.tolist(), target.tolist())
    for value, exact in zip(positive_negative_cosine(online, target), expected, strict=True):
        assert 1e-7 < 1 - exact < 1e-5
        assert 1 - value.item() == pytest.approx(1 - exact, rel=1e-6)


def test_complete_collapse_is_one():
    row = torch.tensor([[0.3, -2.0, 5.0]])
    positive, negative = positive_negative_cosine(row.repeat(8, 1), 7 * row.repeat(8, 1))
    assert positive.item() == pytest.approx(1, abs=1e-15)
    assert negative.item() == pytest.approx(1, abs=1e-15)


def test_known_values():
    orthogonal = torch.eye(4)
    assert [v.item() for v in positive_negative_cosine(orthogonal, orthogonal)] == [1, 0]
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert [v.item() for v in positive_negative_cosine(opposite, opposite)] == [1, -1]
    zeros = torch.zeros(3, 4)
    assert [v.item() for v in positive_negative_cosine(zeros, zeros)] == [0, 0]


def test_invariance():
    online, target = pair()
    expected = positive_negative_cosine(online, target)
    rotation = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))[0]
    lengths = 10.0 ** torch.linspace(-20, 20, 9, dtype=torch.float64)[:, None]
    order = torch.randperm(9)
    for other in (
        positive_negative_cosine(online @ rotation, target @ rotation),
        positive_negative_cosine(online * lengths, target),
        positive_negative_cosine(online[order], target[order]),
        positive_negative_cosine(target, online),
    ):
        torch.testing.assert_close(other, expected, rtol=1e-7, atol=1e-8)


def test_gradients():
    online, target = (view.requires_grad_() for view in pair(4, 3))
    assert torch.autograd.gradcheck(positive_negative_cosine, (online, target))


@pytest.mark.parametrize(
    ("online", "target", "message"),
    [
        ((1, 4), (1, 4), r"online must have shape \(N >= 2, D\), got \(1, 4\)"),
        ((4,), (4,), r"online must have shape \(N >= 2, D\), got \(4,\)"),
        ((2, 3, 4), (2, 3, 4), r"online must have shape \(N >= 2, D\), got \(2, 3, 4\)"),
        ((2, 4), (1, 4), r"target must have shape \(N >= 2, D\), got \(1, 4\)"),
        ((2, 4), (3, 4), r"must have the same shape, got \(2, 4\) and \(3, 4\)"),
    ],
)
def test_wrong_shapes(online, target, message):
    with pytest.raises(ValueError, match=message):
        positive_negative_cosine(torch.ones(online), torch.ones(target))
