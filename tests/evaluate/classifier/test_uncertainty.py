import copy

import pytest
import torch
from torch import nn

from ssl_norm.errors import UserError
from ssl_norm.evaluate.classifier.uncertainty import uncertainty_summary
from ssl_norm.evaluate.features import evaluation_view
from ssl_norm.evaluate.uncertainty import auroc
from ssl_norm.norms.batch.freezing import freeze_statistics
from tests.evaluate.classifier.test_scores import (
    PIXELS,
    classifier,
    images,
    scoring_of,
)

__all__ = ["images"]  # a fixture


def summary(model, images):
    return uncertainty_summary(scoring_of(images), model, 4)


def fitted(images):
    """Return a classifier of digits that is right now and then."""
    model = classifier().train()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    inputs = evaluation_view(images.everything.images, 16, *PIXELS)
    for _ in range(8):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), images.everything.labels).backward()
        optimizer.step()
    return model


def test_summary_of_a_classifier(images):
    model = fitted(images)
    before = copy.deepcopy(model.state_dict())
    found = summary(model, images)
    assert found == summary(model, images)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert found.keys() == {
        "auroc", "auroc_entropy", "auroc_max_probability", "error_of_mean_top1", "error_top1",
    }  # fmt: skip
    assert all(0 <= value <= 1 for value in found.values())
    test = images.test
    with torch.no_grad():
        sure = model.eval()(evaluation_view(test.images, 16, *PIXELS)).softmax(1)
    wrong = sure.argmax(1) != test.labels
    assert found["error_top1"] == pytest.approx(wrong.double().mean().item())
    assert found["auroc_max_probability"] == pytest.approx(auroc(1 - sure.amax(1), wrong))


def test_wrong_input(images):
    with pytest.raises(UserError, match="has no batch norm, or only frozen ones"):
        summary(classifier("gn"), images)
    frozen = classifier()
    freeze_statistics(frozen)
    with pytest.raises(UserError, match="has no batch norm, or only frozen ones"):
        summary(frozen, images)
