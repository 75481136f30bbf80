from math import exp, log

import pytest
import torch

from ssl_norm.monitors import alignment, positive_negative_cosine, similarity, uniformity
from tests.monitors import samples
from tests.reference import monitors as reference


def test_float32_resolves_the_edge_of_collapse():
    generator = torch.Generator().manual_seed(0)
    center = torch.randn(32, generator=generator, dtype=torch.float64)
    views = torch.randn(2, 64, 32, generator=generator, dtype=torch.float64)
    online, target = (center + 1e-3 * views).float()
    expected = reference.positive_negative_cosine(online.tolist(), target.tolist())
    for value, exact in zip(positive_negative_cosine(online, target), expected, strict=True):
        assert 1e-7 < 1 - exact < 1e-5
        assert 1 - value.item() == pytest.approx(1 - exact, rel=1e-6)


@pytest.mark.parametrize("at_once", [1, 3, 39, 40, 80, 121, 1600])
def test_uniformity_in_parts(at_once, monkeypatch):
    z = samples.random(40, 6)
    expected = uniformity(z)
    monkeypatch.setattr(similarity, "COSINES_AT_ONCE", at_once)
    torch.testing.assert_close(uniformity(z), expected, rtol=1e-13, atol=0)


def test_known_values():
    for z, values in ((torch.eye(4), [1, 0]), (torch.zeros(3, 4), [0, 0])):
        assert [value.item() for value in positive_negative_cosine(z, z)] == values
    assert uniformity(torch.eye(8)).item() == pytest.approx(-4)
    opposite = torch.tensor([[1.0, 0.0], [-2.0, 0.0]])
    assert [value.item() for value in positive_negative_cosine(opposite, opposite)] == [1, -1]
    assert uniformity(opposite).item() == pytest.approx(-8)
    one_zero = torch.tensor([[0.0, 0.0], [5.0, 0.0]])  # zeros are a point at the centre
    assert uniformity(one_zero).item() == pytest.approx(-2)
    assert alignment(opposite, -opposite).item() == pytest.approx(4)
    cross = torch.cat([torch.eye(4), -torch.eye(4)])
    assert uniformity(cross).item() == pytest.approx(log((6 * exp(-4) + exp(-8)) / 7))


@pytest.mark.parametrize("shape", [(3, 4), (2, 1)])
def test_pairs_have_one_shape(shape):
    with pytest.raises(ValueError, match=r"the same shape, got \(2, 4\) and \(\d, \d\)"):
        positive_negative_cosine(torch.ones(2, 4), torch.ones(shape))


def test_gradients():
    online, target = (z.requires_grad_() for z in samples.inputs("pair", count=4, size=3))
    for function in (positive_negative_cosine, alignment):
        assert torch.autograd.gradcheck(function, (online, target))
    assert torch.autograd.gradcheck(uniformity, online)
