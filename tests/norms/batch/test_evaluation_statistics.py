import copy

import pytest
import torch
from torch import nn

from ssl_norm.norms import NORMS, make_norm
from ssl_norm.norms.batch.evaluation_statistics import (
    batch_statistics_at_evaluation,
    domain_layers,
    kept_statistics,
    pooled_over_domains,
)
from ssl_norm.norms.batch.freezing import freeze_statistics
from ssl_norm.norms.batch.precise_bn import recompute_statistics
from ssl_norm.norms.layers.batch_norm import BatchNorm
from ssl_norm.norms.layers.domain_batch_norm import DomainBatchNorm, domain_labels

CHANNELS = 4
OPTIONS = {"zca": {"groups": 2}, "iternorm": {"groups": 2}, "gn": {"groups": 2}}
OTHER_POLICIES = ("act", "brn", "domain")  # their training mode differs from batch statistics


def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(8, CHANNELS, 3, 2, generator=generator, dtype=torch.float64) + 5


@pytest.mark.parametrize("name", [n for n in [*NORMS, "torch's"] if n not in OTHER_POLICIES])
def test_evaluates_as_in_training_and_moves_nothing(name):
    spec = nn.BatchNorm2d if name == "torch's" else {"name": name, **OPTIONS.get(name, {})}
    layer = make_norm(spec, CHANNELS).double()
    expected = copy.deepcopy(layer).train()(batch())
    state = copy.deepcopy(layer.eval().state_dict())
    before = layer(batch())
    with batch_statistics_at_evaluation(layer):
        torch.testing.assert_close(layer.eval()(batch()), expected)
    assert all(torch.equal(value, state[key]) for key, value in layer.state_dict().items())
    assert layer.state_dict().keys() == state.keys()
    assert torch.equal(layer(batch()), before)


def test_undone_after_an_error_and_frozen_layers_left_alone():
    model = nn.Sequential(nn.BatchNorm2d(CHANNELS), make_norm("rbn", CHANNELS)).double().eval()
    freeze_statistics(model[0])
    statistics = model[0].running_mean

    def break_off():
        with batch_statistics_at_evaluation(model):
            assert model[0].running_mean is statistics
            assert model[1].evaluation == "batch"
            raise RuntimeError("broken off")

    with pytest.raises(RuntimeError, match="broken off"):
        break_off()
    assert model[1].evaluation == "population"


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


def test_a_layer_of_two_domains_evaluates_with_the_mixture_s():
    generator = torch.Generator().manual_seed(0)
    parts = torch.randn(2, 40, 3, generator=generator) * 2 + torch.tensor([[[0.0]], [[5.0]]])
    mixture = torch.cat(list(parts))
    layer = DomainBatchNorm(3, domains=2, affine_per_domain=True)
    recompute_statistics(layer, [mixture])
    torch.nn.init.normal_(layer.weight, generator=generator)
    layer.eval()
    before = layer.running_mean.clone(), layer.running_var.clone()
    with pooled_over_domains(layer), domain_labels(layer, 1):
        y = layer(parts[1])
    variance = parts.double().var(1).mean(0) + parts.double().mean(1).var(0, unbiased=False)
    expected = (parts[1] - mixture.double().mean(0)) / (variance + 1e-5).sqrt() * layer.weight[1]
    torch.testing.assert_close(y, expected.float(), rtol=1e-5, atol=1e-5)
    assert torch.equal(layer.running_mean, before[0])
    assert torch.equal(layer.running_var, before[1])


def test_models_without_statistics_of_domains():
    shared = DomainBatchNorm(2, domains=2, shared_statistics=True)
    model = nn.Sequential(BatchNorm(2), shared)
    assert domain_layers(model) == []
    with pytest.raises(ValueError, match="Sequential has no domain norm with statistics to pool"):
        pooled_over_domains(model).__enter__()
