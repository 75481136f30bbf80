"""Accuracy and loss of a classifier."""

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

    Args:
        model: on `device`, maps inputs to logits (B, K); its mode is restored.
        images: N labelled images.
        to_input: from pixels (B, H, W, 3) uint8 on the device to the model's input, for example
            :func:`~ssl_norm.evaluate.features.evaluation_view`.
        batch_size: largest number of images of a batch.
        device: device of the model.
        seed: seed of a random order, for batch statistics, since neighbours often share a class;
            None: the given order.

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
