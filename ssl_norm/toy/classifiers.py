"""Classifiers of few labelled samples that differ in their norm only."""

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
    layers: int  # linear and convolutional ones
    steps: int  # of Adam, each on all labelled samples
    lr: float  # learning rate
    unlabelled: int  # samples without a label in a joint batch
    gradient: bool  # whether the gradient flows through the statistics of ubn


def make_classifier(samples: Samples, recipe: Recipe, norm: NormLike) -> nn.Sequential:
    """Return an MLP for points of the plane, or a convolutional network for images.

    All layers but the last are followed by the norm and a ReLU. Of images, the first keeps the
    resolution, the next ones halve it, and the last one sees the means over all positions.
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

    All norms start at the same weights for one seed. `ubn` alone sees unlabelled samples: its
    statistics, of the step and of the population, are those of joint batches.

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
    """Yield batches forever: all labelled samples, then `unlabelled` random other ones."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        chosen = torch.randperm(len(samples.unlabelled), generator=generator)[:unlabelled]
        yield torch.cat([samples.labelled, samples.unlabelled[chosen]])


def backward(
    model: nn.Module, samples: Samples, joint_batch: Tensor | None, *, gradient: bool
) -> float:
    """Compute the mean cross-entropy of the labelled samples and its gradients; return the former.

    A joint batch begins with the labelled samples and sets the statistics, through which the
    gradient flows or not; without one, the labelled samples set them.
    """
    unlabelled = None if joint_batch is None else joint_batch[len(samples.labelled) :]
    logits = labelled_logits(model, samples.labelled, unlabelled, gradient)
    loss = F.cross_entropy(logits, samples.labels)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item()


@torch.no_grad()
def accuracies(model: nn.Module, samples: Samples) -> dict[str, float]:
    """Return the accuracy in [0, 1] on the unlabelled samples, by the statistics that normalize.

    `population` are the moving averages of training, `batch` those of all unlabelled samples.
    """

    def accuracy() -> float:
        predicted: Tensor = model(samples.unlabelled).argmax(1)
        return (predicted == samples.truth).double().mean().item()

    found = {"population": accuracy()}
    with batch_statistics_at_evaluation(model):
        return found | {"batch": accuracy()}


def std_auroc(model: nn.Module, samples: Samples, batches: Iterable[Tensor]) -> float:
    """Return the AUROC of the std over batches, wrong against right predictions without a label.

    0.5 is chance, 1 perfect; NaN where all predictions are right. A prediction is the mean over the
    batches.
    """
    found = uncertainty(model, samples.unlabelled, batches, batch_size=len(samples.unlabelled))
    return auroc(found.std, found.classes != samples.truth)
