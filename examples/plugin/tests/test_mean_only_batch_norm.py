import torch

from ssl_norm_example.mean_only_batch_norm import MeanOnlyBatchNorm


def test_equals_its_equation():
    x = torch.randn(8, 3, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(MeanOnlyBatchNorm(3).double()(x), x - x.mean((0, 2, 3), True))
