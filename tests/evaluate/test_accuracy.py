import torch

from ssl_norm.evaluate.accuracy import class_accuracies, majority_frequency, top_k_accuracy


def test_known_values():
    scores = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    labels = torch.tensor([0, 1, 0, 2])
    assert top_k_accuracy(scores, labels, 1) == 0.5
    assert top_k_accuracy(scores, labels, 2) == 0.75
    assert top_k_accuracy(scores, labels, 3) == 1.0
    assert class_accuracies(scores, labels) == [0.5, 0.0, 1.0]
    assert majority_frequency(labels) == 0.5
    assert class_accuracies(torch.eye(4)[:3], torch.tensor([0, 1, 0])) == [0.5, 1.0, None, None]
