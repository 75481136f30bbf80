"""Accuracies, as fractions in [0, 1]."""

import torch
from torch import Tensor


def top_k_accuracy(scores: Tensor, labels: Tensor, k: int) -> float:
    """Return the share of samples whose label is among the k highest scores.

    Args:
        scores: (N, K) with N >= 1.
        labels: (N,) integers in [0, K).
        k: 1 to K; for K the result is 1.
    """
    highest = scores.topk(k, dim=1).indices
    return (highest == labels[:, None]).any(dim=1).double().mean().item()


def class_accuracies(scores: Tensor, labels: Tensor) -> list[float | None]:
    """Return the top-1 accuracy of each class, or None for a class without samples.

    Scores are (N, K), and labels are (N,) integers in [0, K).
    """
    classes = scores.shape[1]
    correct = labels[scores.argmax(dim=1) == labels]
    sizes = torch.bincount(labels, minlength=classes).tolist()
    hits = torch.bincount(correct, minlength=classes).tolist()
    return [hit / size if size else None for hit, size in zip(hits, sizes, strict=True)]


def majority_frequency(labels: Tensor) -> float:
    """Return chance: the share of the most common class in labels (N,), integers from 0."""
    return int(torch.bincount(labels).max()) / len(labels)
