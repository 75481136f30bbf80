"""Accuracies, as fractions in [0, 1], and the score of a classifier."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_norm.data.batches.sampler import epoch_order
from ssl_norm.data.dataset import ImageSet
from ssl_norm.errors import UserError
from ssl_norm.norms.batch.freezing import evaluation_mode


def top_k_accuracy(scores: Tensor, labels: Tensor, k: int) -> float:
    """Return the share of labels (N,) that are among the k <= K highest of scores (N, K)."""
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


class Score(NamedTuple):
    """Accuracy and loss of a classifier."""

    top1: float  # share of images whose largest logit is that of their class, in [0, 1]
    loss: float  # mean cross-entropy in nats; NaN if the classifier diverged
    images: int  # number of images


def score(
    model: nn.Module,
    images: ImageSet,
    to_input: Callable[[Tensor], Tensor],
    *,
    batch_size: int,
    device: torch.device | str,
    seed: int | None = None,
) -> Score:
    """Return accuracy and loss of a classifier in evaluation mode.

    Batch sizes differ by at most one image, because a small last batch has poor statistics.

    The model on `device` maps the inputs that `to_input` makes of uint8 pixels (B, H, W, 3) to
    logits (B, K). With a `seed` the order is random, for batch statistics, since neighbours often
    share a class.

    Raises:
        UserError: there are no images or no labels, or a label has no logit.
    """
    if images.labels is None or not len(images):
        raise UserError("a classifier is scored on labelled images, and there are none")
    order = torch.arange(len(images)) if seed is None else epoch_order(len(images), seed, 0)
    right, loss = 0, 0.0
    with evaluation_mode(model), torch.no_grad():
        for rows in even_batches(order, batch_size):
            labels = images.labels[rows].to(device)
            logits = model(to_input(images.take(rows).to(device))).float()
            if int(labels.max()) >= logits.shape[1]:
                raise UserError(
                    f"the images have class {int(labels.max())}, counted from 0, and the "
                    f"classifier knows {logits.shape[1]} classes"
                )
            right += int((logits.argmax(1) == labels).sum())
            loss += float(F.cross_entropy(logits, labels, reduction="sum"))
    return Score(right / len(images), loss / len(images), len(images))


def even_batches(order: Tensor, batch_size: int) -> tuple[Tensor, ...]:
    """Split an order (N,) into as few batches as possible, whose sizes differ by at most one.

    Example:
        >>> [len(batch) for batch in even_batches(torch.arange(10), 4)]
        [4, 3, 3]
    """
    return torch.tensor_split(order, math.ceil(len(order) / batch_size))
