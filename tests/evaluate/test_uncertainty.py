import copy
import math

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from ssl_norm.evaluate.uncertainty import auroc, uncertainty
from ssl_norm.norms.batch.freezing import freeze_statistics
from ssl_norm.norms.layers.batch_norm import BatchNorm


def network(norm):
    torch.manual_seed(0)
    layers = nn.Linear(3, 6), norm(6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 4), norm(4)
    return nn.Sequential(*layers).double()


@pytest.fixture
def inputs():
    return torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def batches():
    return torch.randn(5, 16, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def standardized(x, weights):
    """Return x and a batch of weights, both normalized by the batch's mean and variance."""
    mean, variance = weights.mean(0), weights.var(0)
    own = (weights - mean) / (weights.var(0, unbiased=False) + 1e-5).sqrt()
    return (x - mean) / (variance + 1e-5).sqrt(), own


@pytest.mark.parametrize("norm", [nn.BatchNorm1d, BatchNorm])
def test_against_a_hand_computation(norm, inputs, batches):
    model = network(norm)
    drawn = []
    for batch in batches:
        x, own = standardized(model[0](inputs), model[0](batch))
        x, own = model[4](x.relu()), model[4](own.relu())
        drawn.append(standardized(x, own)[0].softmax(1))
    stacked = torch.stack(drawn).detach()
    found = uncertainty(model, inputs, batches, batch_size=3)
    mean = stacked.mean(0)
    torch.testing.assert_close(found.mean, mean, rtol=1e-6, atol=1e-7)
    expected = stacked.std(0)[torch.arange(7), mean.argmax(1)]
    torch.testing.assert_close(found.std, expected, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(found.entropy, -(mean * mean.log()).sum(1), rtol=1e-6, atol=1e-7)
    assert torch.equal(found.classes, mean.argmax(1))
    assert found.draws == 5


@pytest.mark.parametrize("norm", [nn.BatchNorm1d, BatchNorm])
def test_the_model_is_as_before(norm, inputs, batches):
    model = network(norm).train()
    before = copy.deepcopy(model.state_dict())
    uncertainty(model, inputs, batches)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(part.training for part in model.modules())
    with pytest.raises(ValueError, match="not finite"):
        uncertainty(model, inputs, [batches[0], batches[1] / 0])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_norms_that_evaluate_by_the_batch_take_the_drawn_statistics(inputs, batches):
    plain = network(BatchNorm)
    model = network(lambda width: BatchNorm(width, evaluation="batch"))
    found, expected = (uncertainty(part, inputs, batches, batch_size=3) for part in (model, plain))
    assert torch.equal(found.mean, expected.mean)
    assert torch.equal(found.std, expected.std)
    assert model[1].evaluation == "batch"


def test_wrong_input(inputs, batches):
    model = network(nn.BatchNorm1d)
    with pytest.raises(ValueError, match=r"at least 2 batches .*, got 1"):
        uncertainty(model, inputs, batches[:1])
    freeze_statistics(model)
    with pytest.raises(ValueError, match="no batch norm with statistics"):
        uncertainty(model, inputs, batches)


@pytest.mark.parametrize("ties", [False, True])
def test_auroc_equals_that_of_scikit_learn(ties):
    generator = torch.Generator().manual_seed(0)
    positive = torch.rand(200, generator=generator) < 0.2
    scores = torch.randn(200, generator=generator, dtype=torch.float64) + positive
    scores = scores.round() if ties else scores
    assert auroc(scores, positive) == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)


def test_auroc_of_known_cases():
    right = torch.tensor([False, False, True, True])
    ascending = torch.arange(4.0)
    assert auroc(ascending, right) == 1
    assert auroc(-ascending, right) == 0
    assert auroc(torch.zeros(4), right) == 0.5
    assert math.isnan(auroc(ascending, torch.zeros(4, dtype=torch.bool)))
    assert math.isnan(auroc(ascending, torch.ones(4, dtype=torch.bool)))
    assert math.isnan(auroc(torch.tensor([math.nan, 0.2, 0.3, 0.4]), right))
