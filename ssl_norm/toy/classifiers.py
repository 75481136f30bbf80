"""Classifiers of two moons that differ in their norm only."""

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
from ssl_norm.norms import NormLike, parse_norm
from ssl_norm.norms.batch.evaluation_statistics import batch_statistics_at_evaluation
from ssl_norm.toy.samples import Moons
from ssl_norm.train.finetuning import labelled_logits


class Recipe(NamedTuple):
    """Size and training of a classifier."""

    hidden_dim: int  # width of the hidden layers
    layers: int  # Linear layers
    steps: int  # of Adam, each on all labelled points
    lr: float  # learning rate
    unlabelled: int  # points without a label in a joint batch
    gradient: bool  # whether the gradient flows through the statistics of ubn


def train_classifier(norm: NormLike, moons: Moons, recipe: Recipe, seed: int) -> nn.Sequential:
    """Return an MLP trained on the labelled points, in evaluation mode.

    All norms start at the same weights for one seed. `ubn` alone sees unlabelled points: its
    statistics, of the step and of the population, are those of joint batches.

    Raises:
        NonFiniteLoss: the loss, a weight or a statistic became NaN or infinite.
    """
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        hidden_dim, layers = recipe.hidden_dim, recipe.layers
        model = mlp_head(2, hidden_dim=hidden_dim, output_dim=2, layers=layers, norm=norm)
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.lr)
    joint = parse_norm(norm).name == "ubn"
    batches = joint_batches(moons, recipe.unlabelled, seed)
    smaller = f"use a smaller lr than {recipe.lr:g}"
    for step, batch in enumerate(islice(batches, recipe.steps), start=1):
        optimizer.zero_grad()
        loss = backward(model, moons, batch if joint else None, gradient=recipe.gradient)
        if not isfinite(loss):
            raise NonFiniteLoss(f"{norm}: the loss is {loss} at step {step}; {smaller}")
        optimizer.step()
    if not all(bool(value.isfinite().all()) for value in model.state_dict().values()):
        found = f"not finite after {recipe.steps} steps"
        raise NonFiniteLoss(f"{norm}: weights or statistics are {found}; {smaller}")
    return model.eval()


def joint_batches(moons: Moons, unlabelled: int, seed: int) -> Iterator[Tensor]:
    """Yield batches forever: all labelled points, then `unlabelled` random other ones."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        chosen = torch.randperm(len(moons.unlabelled), generator=generator)[:unlabelled]
        yield torch.cat([moons.labelled, moons.unlabelled[chosen]])


def backward(
    model: nn.Module, moons: Moons, joint_batch: Tensor | None, *, gradient: bool
) -> float:
    """Set the gradients of the mean cross-entropy of the labelled points, and return it.

    A joint batch begins with the labelled points and sets the statistics, through which the
    gradient flows or not; without one, the labelled points set them.
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

    def accuracy() -> float:
        predicted: Tensor = model(moons.unlabelled).argmax(1)
        return (predicted == moons.truth).double().mean().item()

    found = {"population": accuracy()}
    with batch_statistics_at_evaluation(model):
        return found | {"batch": accuracy()}


def std_auroc(model: nn.Module, moons: Moons, batches: Iterable[Tensor]) -> float:
    """Return the AUROC of the std over batches, wrong against right predictions without a label.

    0.5 is chance, 1 perfect; NaN where all predictions are right. A prediction is the mean over the
    batches.
    """
    found = uncertainty(model, moons.unlabelled, batches, batch_size=len(moons.unlabelled))
    return auroc(found.std, found.classes != moons.truth)
