"""Classifiers of points in the plane that differ in their norm only."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_norm.data.moons import Moons
from ssl_norm.errors import NonFiniteLoss
from ssl_norm.evaluate.uncertainty import auroc, uncertainty
from ssl_norm.models.heads import mlp_head
from ssl_norm.norms import NormLike, parse_norm
from ssl_norm.norms.batch.evaluation_statistics import batch_statistics_at_evaluation
from ssl_norm.train.finetuning import labelled_logits


@dataclass(frozen=True)
class Recipe:
    """How a classifier is built and trained.

    Attributes:
        hidden_dim: width of the hidden layers.
        layers: Linear layers.
        steps: of Adam at a constant rate, each on all labelled points.
        lr: the rate.
        unlabelled: points without a label in a joint batch.
        gradient: whether the gradient flows through the statistics of ubn.
    """

    hidden_dim: int
    layers: int
    steps: int
    lr: float
    unlabelled: int
    gradient: bool


def train_classifier(norm: NormLike, moons: Moons, recipe: Recipe, seed: int) -> nn.Sequential:
    """Return an MLP trained on the labelled points, in evaluation mode.

    All norms start at the same weights for one seed. `ubn` alone sees unlabelled points: its
    statistics, of the step and of the population, are those of joint batches.

    Raises:
        NonFiniteLoss: the loss, a weight or a statistic became NaN or infinite.
    """
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        model = mlp_head(
            2, hidden_dim=recipe.hidden_dim, output_dim=2, layers=recipe.layers, norm=norm
        )
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.lr)
    joint = parse_norm(norm).name == "ubn"
    for step, batch in zip(
        range(recipe.steps), joint_batches(moons, recipe.unlabelled, seed), strict=False
    ):
        optimizer.zero_grad()
        loss = backward(model, moons, batch if joint else None, gradient=recipe.gradient)
        if not isfinite(loss):
            raise NonFiniteLoss(
                f"{norm}: the loss is {loss} at step {step + 1}; use a smaller lr than {recipe.lr:g}"
            )
        optimizer.step()
    if not all(bool(value.isfinite().all()) for value in model.state_dict().values()):
        raise NonFiniteLoss(
            f"{norm}: weights or statistics are not finite after {recipe.steps} steps; "
            f"use a smaller lr than {recipe.lr:g}"
        )
    return model.eval()


def joint_batches(moons: Moons, unlabelled: int, seed: int) -> Iterator[Tensor]:
    """Yield, without end, the labelled points and after them so many random unlabelled ones."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        chosen = torch.randperm(len(moons.unlabelled), generator=generator)[:unlabelled]
        yield torch.cat([moons.labelled, moons.unlabelled[chosen]])


def backward(
    model: nn.Module, moons: Moons, joint_batch: Tensor | None, *, gradient: bool
) -> float:
    """Set the gradients of the mean cross-entropy of the labelled points, and return it.

    Args:
        model: in training mode.
        moons: of which the labelled points are the batch.
        joint_batch: starts with the labelled points, and sets the statistics; None: the labelled ones do.
        gradient: whether it flows through the statistics of the joint batch, in one pass instead of two.
    """
    unlabelled = None if joint_batch is None else joint_batch[len(moons.labelled) :]
    logits = labelled_logits(model, moons.labelled, unlabelled, gradient)
    loss = F.cross_entropy(logits, moons.labels)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item()


@torch.no_grad()
def accuracies(model: nn.Module, moons: Moons) -> dict[str, float]:
    """Return the accuracy in [0, 1] on the unlabelled points, by the statistics that normalize.

    `population` are the moving averages of training, `batch` those of all unlabelled points.
    """
    found = {"population": accuracy(model(moons.unlabelled), moons.truth)}
    with batch_statistics_at_evaluation(model):
        return found | {"batch": accuracy(model(moons.unlabelled), moons.truth)}


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the share of right predictions in [0, 1]."""
    return (logits.argmax(1) == labels).double().mean().item()


def std_auroc(model: nn.Module, moons: Moons, batches: Iterable[Tensor]) -> float:
    """Return how well the std over batches tells wrong from right predictions of the unlabelled points.

    0.5 is chance, 1 perfect; NaN where all predictions are right. A prediction is the mean over the batches.
    """
    found = uncertainty(model, moons.unlabelled, batches, batch_size=len(moons.unlabelled))
    return auroc(found.std, found.classes != moons.truth)
