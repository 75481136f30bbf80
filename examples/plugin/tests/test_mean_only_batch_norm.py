import torch

from ssl_norm_example.mean_only_batch_norm import MeanOnlyBatchNorm


def test_equals_its_equation():
    x = torch.randn(8, 3, 4, 4, dtype=torch.float64)
    positions = [(n, i, j) for n in range(8) for i in range(4) for j in range(4)]
    mean = sum(x[n, :, i, j] for n, i, j in positions) / 128
    torch.testing.assert_close(MeanOnlyBatchNorm(3).double()(x), x - mean.view(3, 1, 1))
