"""Classifiers of two moons that differ in their norm only, and their picture."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_norm.data.moons import Moons
from ssl_norm.errors import NonFiniteLoss
from ssl_norm.evaluate.uncertainty import auroc, uncertainty
from ssl_norm.figures.moons import PlaneMap, Points, moons_figure
from ssl_norm.models.heads import mlp_head
from ssl_norm.norms import NormLike, parse_norm
from ssl_norm.norms.batch.evaluation_statistics import batch_statistics_at_evaluation
from ssl_norm.train.finetuning import labelled_logits

MARGIN = 0.5  # of the plane around the points
GRID_STEP = 0.025
DOTS_PER_INCH = 150


class Recipe(NamedTuple):
    """Size and training of a classifier.

    Attributes:
        hidden_dim: width of the hidden layers.
        layers: Linear layers.
        steps: of Adam, each on all labelled points.
        lr: learning rate.
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
    batches = islice(joint_batches(moons, recipe.unlabelled, seed), recipe.steps)
    advice = f"use a smaller lr than {recipe.lr:g}"
    for step, batch in enumerate(batches, start=1):
        optimizer.zero_grad()
        loss = backward(model, moons, batch if joint else None, gradient=recipe.gradient)
        if not isfinite(loss):
            raise NonFiniteLoss(f"{norm}: the loss is {loss} at step {step}; {advice}")
        optimizer.step()
    if not all(bool(value.isfinite().all()) for value in model.state_dict().values()):
        raise NonFiniteLoss(
            f"{norm}: weights or statistics are not finite after {recipe.steps} steps; {advice}"
        )
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

    Args:
        model: in training mode.
        moons: the points.
        joint_batch: begins with the labelled points and sets the statistics; None: they do.
        gradient: whether it flows through the statistics of the joint batch.
    """
    unlabelled = None if joint_batch is None else joint_batch[len(moons.labelled) :]
    logits = labelled_logits(model, moons.labelled, unlabelled, gradient)
    loss = F.cross_entropy(logits, moons.labels)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item()


@torch.no_grad()
def accuracies(model: nn.Module, moons: Moons) -> dict[str, float]:
    """Return the accuracy in [0, 1] on the unlabelled points by kind of statistics.

    `population` are the moving averages of training, `batch` those of all unlabelled points.
    """
    found = {"population": accuracy(model(moons.unlabelled), moons.truth)}
    with batch_statistics_at_evaluation(model):
        return found | {"batch": accuracy(model(moons.unlabelled), moons.truth)}


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the share of right predictions."""
    return (logits.argmax(1) == labels).double().mean().item()


def std_auroc(model: nn.Module, moons: Moons, batches: Iterable[Tensor]) -> float:
    """Return the AUROC of the std over batches, for wrong against right unlabelled points.

    0.5 is chance, 1 perfect; NaN if all predictions, means over the batches, are right.
    """
    found = uncertainty(model, moons.unlabelled, batches, batch_size=len(moons.unlabelled))
    return auroc(found.std, found.classes != moons.truth)


def draw_classifiers(
    models: Mapping[str, nn.Module],
    moons: Moons,
    output: Path,
    *,
    draws: int,
    unlabelled: int,
    seed: int,
    caption: str,
) -> None:
    """Write a picture of boundaries, and of deviations over the same joint batches for all models.

    Args:
        models: by the title of their columns, in evaluation mode.
        moons: all points.
        output: file to write.
        draws: number of joint batches.
        unlabelled: points without a label in each of them.
        seed: of the draws.
        caption: text below the picture.
    """
    x, y = axis(moons, 0), axis(moons, 1)
    down, across = torch.meshgrid(torch.from_numpy(y), torch.from_numpy(x), indexing="ij")
    grid = torch.stack([across.flatten(), down.flatten()], dim=1).float()
    batches = list(islice(joint_batches(moons, unlabelled, seed), draws))
    shape = (len(y), len(x))
    maps = [plane_map(title, model, grid, batches, shape) for title, model in models.items()]
    points = Points(moons.labelled.numpy(), moons.labels.numpy(), moons.unlabelled.numpy())
    moons_figure(x, y, maps, points, caption).savefig(output, dpi=DOTS_PER_INCH)


def axis(moons: Moons, dimension: int) -> NDArray[np.float64]:
    """Return the coordinates of the grid along one dimension."""
    points = torch.cat([moons.labelled, moons.unlabelled])[:, dimension]
    first, last = float(points.min()), float(points.max())
    return np.arange(first - MARGIN, last + MARGIN, GRID_STEP, dtype=np.float64)


@torch.no_grad()
def plane_map(
    title: str, model: nn.Module, grid: Tensor, batches: list[Tensor], shape: tuple[int, int]
) -> PlaneMap:
    """Return the predictions of a model at the points of a grid (rows * columns, 2)."""
    probability = model(grid).softmax(1)[:, 1]
    deviation = uncertainty(model, grid, batches, batch_size=len(grid)).std
    return PlaneMap(title, probability.view(shape).numpy(), deviation.view(shape).numpy())
