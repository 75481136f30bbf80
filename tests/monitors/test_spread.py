import pytest
import torch

from ssl_norm.monitors import feature_std
from tests.reference import monitors as reference


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mean", [0.0, 1.0, 1000.0])
def test_equals_loops(dtype, mean):
    embeddings = (mean + torch.randn(9, 5, generator=torch.Generator().manual_seed(0))).to(dtype)
    expected = reference.feature_std(embeddings.tolist())
    assert feature_std(embeddings).item() == pytest.approx(expected, rel=1e-9)


def test_complete_collapse_is_zero():
    row = torch.tensor([[0.3, -2.0, 5.0]])
    assert feature_std(torch.arange(1.0, 9.0)[:, None] * row).item() == pytest.approx(0, abs=1e-7)
    assert feature_std(row.repeat(8, 1)).item() == pytest.approx(0, abs=1e-15)
    assert feature_std(torch.zeros(8, 3)).item() == 0


def test_even_spread_is_one():
    embeddings = torch.randn(4000, 64, generator=torch.Generator().manual_seed(0))
    assert feature_std(embeddings).item() == pytest.approx(1, abs=1e-2)
    assert feature_std(torch.cat([torch.eye(8), -torch.eye(8)])).item() == pytest.approx(1)


def test_lengths_do_not_matter():
    embeddings = torch.randn(9, 5, dtype=torch.float64)
    lengths = torch.linspace(0.1, 10, 9, dtype=torch.float64)[:, None]
    torch.testing.assert_close(feature_std(embeddings * lengths), feature_std(embeddings))


def test_gradients():
    embeddings = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(feature_std, embeddings)


def test_wrong_shape():
    with pytest.raises(ValueError, match=r"embeddings must have shape \(N >= 2, D\), got \(1, 4\)"):
        feature_std(torch.ones(1, 4))
