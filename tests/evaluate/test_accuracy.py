import numpy as np
import pytest
import torch

from ssl_norm.evaluate.accuracy import class_accuracies, majority_frequency, top_k_accuracy
from tests.reference import evaluation as reference


@pytest.mark.parametrize("k", [1, 2, 5, 7])
def test_top_k_equals_the_loop(k):
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(50, 7, generator=generator)
    labels = torch.randint(0, 7, (50,), generator=generator)
    expected = reference.top_k_accuracy(scores.numpy(), labels.numpy(), k)
    assert top_k_accuracy(scores, labels, k) == pytest.approx(expected, abs=1e-12)


def test_known_values():
    scores = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    labels = torch.tensor([0, 1, 0, 2])
    assert top_k_accuracy(scores, labels, 1) == 0.5
    assert top_k_accuracy(scores, labels, 2) == 0.75
    assert top_k_accuracy(scores, labels, 3) == 1.0
    assert class_accuracies(scores, labels) == [0.5, 0.0, 1.0]
    assert majority_frequency(labels) == 0.5


def test_a_class_without_samples_has_no_accuracy():
    scores = torch.eye(4)[:3]
    assert class_accuracies(scores, torch.tensor([0, 1, 0])) == [0.5, 1.0, None, None]


def test_class_accuracies_weighted_by_size_are_the_accuracy():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(60, 4, generator=generator)
    labels = torch.randint(0, 4, (60,), generator=generator)
    weighted = np.dot(class_accuracies(scores, labels), torch.bincount(labels).numpy() / 60)
    assert weighted == pytest.approx(top_k_accuracy(scores, labels, 1))
