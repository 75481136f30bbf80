import torch

from ssl_norm_example.mean_only_batch_norm import MeanOnlyBatchNorm


def test_equals_its_equation():
    x = torch.randn(8, 3, 4, 4, dtype=torch.float64)
    mean = torch.stack([sum(x[:, c].flatten()) / 128 for c in range(3)])
    torch.testing.assert_close(MeanOnlyBatchNorm(3).double()(x), x - mean.view(3, 1, 1))
