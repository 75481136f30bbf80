"""Classifiers that differ only in their norm, for few labelled samples."""

from collections.abc import Iterable, Iterator
from itertools import islice
from math import isfinite
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_norm.errors import NonFiniteLoss
from ssl_norm.evaluate.uncertainty import auroc, uncertainty
from ssl_norm.models.heads import mlp_head
from ssl_norm.norms import NormLike, parse_norm, replace_norms
from ssl_norm.norms.batch.evaluation_statistics import batch_statistics_at_evaluation
from ssl_norm.toy.samples import Samples
from ssl_norm.train.finetuning import labelled_logits


class Recipe(NamedTuple):
    """Size and training of a classifier."""

    hidden_dim: int  # width of the hidden layers
    layers: int  # number of linear and convolutional layers
    steps: int  # steps of Adam, each on all labelled samples
    lr: float  # learning rate
    unlabelled: int  # samples without a label in a joint batch
    gradient: bool  # whether the gradient flows through the statistics of ubn


def make_classifier(samples: Samples, recipe: Recipe, norm: NormLike) -> nn.Sequential:
    """Return an MLP for points in the plane, or a convolutional network for images.

    The norm and a ReLU follow each layer but the last. In the convolutional network, the first
    layer keeps the resolution, the next ones halve it, and the last is linear and follows a mean
    over all positions.
    """
    hidden_dim, layers, classes = recipe.hidden_dim, recipe.layers, len(samples.labels.bincount())
    width = samples.labelled.shape[1]
    if samples.labelled.ndim == 2:
        return mlp_head(width, hidden_dim=hidden_dim, output_dim=classes, layers=layers, norm=norm)
    model = nn.Sequential()
    for layer in range(layers - 1):
        convolution = nn.Conv2d(width, hidden_dim, 3, stride=1 + (layer > 0), padding=1)
        model.extend([convolution, nn.BatchNorm2d(hidden_dim), nn.ReLU()])
        width = hidden_dim
    model.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes)])
    replace_norms(model, norm)
    return model


def train_classifier(norm: NormLike, samples: Samples, recipe: Recipe, seed: int) -> nn.Sequential:
    """Return a classifier trained on the labelled samples, in evaluation mode.

    With one seed, the initial weights are the same for all norms. Only `ubn` uses unlabelled
    samples: its batch and population statistics are those of joint batches.

    Raises:
        NonFiniteLoss: the loss, a weight or a statistic became NaN or infinite.
    """
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        model = make_classifier(samples, recipe, norm)
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.lr)
    joint = parse_norm(norm).name == "ubn"
    batches = joint_batches(samples, recipe.unlabelled, seed)
    smaller = f"use a smaller lr than {recipe.lr:g}"
    for step, batch in enumerate(islice(batches, recipe.steps), start=1):
        optimizer.zero_grad()
        loss = backward(model, samples, batch if joint else None, gradient=recipe.gradient)
        if not isfinite(loss):
            raise NonFiniteLoss(f"{norm}: the loss is {loss} at step {step}; {smaller}")
        optimizer.step()
    if not all(bool(value.isfinite().all()) for value in model.state_dict().values()):
        found = f"not finite after {recipe.steps} steps"
        raise NonFiniteLoss(f"{norm}: weights or statistics are {found}; {smaller}")
    return model.eval()


def joint_batches(samples: Samples, unlabelled: int, seed: int) -> Iterator[Tensor]:
    """Yield batches without end: all labelled samples, then `unlabelled` random other samples."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        chosen = torch.randperm(len(samples.unlabelled), generator=generator)[:unlabelled]
        yield torch.cat([samples.labelled, samples.unlabelled[chosen]])


def backward(
    model: nn.Module, samples: Samples, joint_batch: Tensor | None, *, gradient: bool
) -> float:
    """Backpropagate the mean cross-entropy of the labelled samples, and return it.

    The statistics are those of the joint batch, which begins with the labelled samples, or of the
    labelled samples if it is None. `gradient` tells whether the gradient flows through them.
    """
    unlabelled = None if joint_batch is None else joint_batch[len(samples.labelled) :]
    logits = labelled_logits(model, samples.labelled, unlabelled, gradient)
    loss = F.cross_entropy(logits, samples.labels)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item()


@torch.no_grad()
def accuracies(model: nn.Module, samples: Samples) -> dict[str, float]:
    """Return the accuracy in [0, 1] on the unlabelled samples, by kind of statistics.

    `population` statistics are the moving averages of training; `batch` statistics are those of all
    unlabelled samples.
    """

    def accuracy() -> float:
        predicted: Tensor = model(samples.unlabelled).argmax(1)
        return (predicted == samples.truth).double().mean().item()

    found = {"population": accuracy()}
    with batch_statistics_at_evaluation(model):
        return found | {"batch": accuracy()}


def std_auroc(model: nn.Module, samples: Samples, batches: Iterable[Tensor]) -> float:
    """Return the AUROC with which the std over batches detects wrong predictions without a label.

    0.5 is chance and 1 is perfect; it is NaN if all predictions are right. A prediction is the mean
    over the batches.
    """
    found = uncertainty(model, samples.unlabelled, batches, batch_size=len(samples.unlabelled))
    return auroc(found.std, found.classes != samples.truth)
