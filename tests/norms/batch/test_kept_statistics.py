import pytest
import torch
from torch import nn

from ssl_norm.norms.batch.evaluation_statistics import kept_statistics
from ssl_norm.norms.layers.batch_norm import BatchNorm


@pytest.mark.parametrize("norm", [nn.BatchNorm1d, BatchNorm])
def test_statistics_are_as_before_also_after_an_error(norm):
    model = nn.Sequential(norm(3), norm(3))
    model(torch.randn(8, 3))
    before = [buffer.clone() for buffer in model.buffers()]
    tensors = list(model.buffers())
    with kept_statistics(model):
        model(5 + torch.randn(8, 3))
        assert not torch.equal(model[0].running_mean, before[0])
    with pytest.raises(ValueError, match="value"), kept_statistics(model):
        model(torch.randn(1, 3))
    for buffer, tensor, values in zip(model.buffers(), tensors, before, strict=True):
        assert buffer is tensor
        assert torch.equal(buffer, values)
