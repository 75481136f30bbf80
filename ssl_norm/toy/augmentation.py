"""Implicit augmentation of inputs by batch statistics, and its distance from the data."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_norm.norms.batch.evaluation_statistics import (
    kept_statistics,
    population_statistics_at_evaluation,
)
from ssl_norm.norms.batch.precise_bn import recompute_statistics

DIRECTIONS = 20  # random directions for each starting point


class Starts(NamedTuple):
    """Starting points: one for each input and each redraw of the batch statistics."""

    inputs: Tensor  # (S, ...), all inputs, repeated for every redraw
    points: Tensor  # (S, ...), points that the new statistics predict as the old ones the inputs
    restored: Tensor  # (S,) bool, whether a point with that prediction was found


def starting_points(
    model: nn.Module,
    inputs: Tensor,
    batches: Sequence[Tensor],
    *,
    tolerance: float = 1e-3,
    steps: int = 500,
) -> Starts:
    """Return points whose predictions with new statistics are those of the inputs with old ones.

    For each pair of consecutive batches, predict the inputs with the statistics of the first batch.
    Then normalize with those of the second, and move each input by gradient descent until the
    prediction is the first one again.

    Args:
        model: a model with batch norms, from inputs (N, ...) to logits (N, K), in evaluation mode;
            it is unchanged afterwards.
        inputs: (N, ...).
        batches: B >= 2 batches whose statistics are taken, for (B - 1) N starting points.
        tolerance: largest difference of a centred logit; a probability differs by less than that.
        steps: largest number of steps of gradient descent.

    Source: Kocyigit et al., "Unsupervised Batch Normalization", CVPR Workshops 2020, as other
        authors describe it.
    """
    points, restored = [], []
    with kept_statistics(model), population_statistics_at_evaluation(model):
        recompute_statistics(model, [batches[0]])
        for batch in batches[1:]:
            target = predictions(model, inputs).detach()
            recompute_statistics(model, [batch])
            found, error = descend(model, inputs, target, tolerance, steps)
            points.append(found)
            restored.append(error <= tolerance)
    repeated = inputs.repeat(len(points), *[1] * (inputs.ndim - 1))
    return Starts(repeated, torch.cat(points), torch.cat(restored))


def predictions(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return the logits (N, K) minus their mean, which does not change the probabilities."""
    logits: Tensor = model(inputs)
    return logits - logits.mean(1, keepdim=True)


def descend(
    model: nn.Module, inputs: Tensor, target: Tensor, tolerance: float, steps: int
) -> tuple[Tensor, Tensor]:
    """Move inputs until their predictions are the target (N, K); return them and the errors (N,).

    This is gradient descent on half the squared error of each input. Its step is Polyak's for a
    minimum of 0: half the squared error over the squared length of its gradient.
    """
    points = inputs.clone()
    for step in range(steps + 1):
        points.requires_grad_()
        error = predictions(model, points) - target
        largest = error.detach().abs().amax(1)
        if step == steps or bool((largest <= tolerance).all()):
            break
        losses = error.square().sum(1) / 2
        (gradient,) = torch.autograd.grad(losses.sum(), points)
        squared = gradient.flatten(1).square().sum(1)
        lengths = (losses.detach() / squared).where((largest > tolerance) & (squared > 0), 0)
        points = points.detach() - lengths.view(-1, *[1] * (inputs.ndim - 1)) * gradient
    return points.detach(), largest


def closeness(starts: Starts, unlabelled: Tensor, seed: int) -> dict[str, float]:
    """Return how near the data restored starting points are, compared with the ends of other moves.

    The other moves begin at the same inputs and have the same lengths: 20 in `random` directions,
    20 in the direction `between` two random unlabelled samples (U, ...), and one in the `opposite`
    direction.

    Returns:
        `restored`, the share of restored starting points, and the median `length` of their moves.
        Mean distances from the nearest unlabelled sample: `before` and `after` the moves, and after
        the `random`, `between` and `opposite` ones. `than_random`, `than_between` and
        `than_opposite`: the share of these moves that end farther from the data than the starting
        point, where ties count half. Distances are NaN if no point is restored.
    """
    data = unlabelled.flatten(1)
    inputs, points = (part[starts.restored].flatten(1) for part in starts[:2])
    moves = points - inputs
    lengths = moves.norm(dim=1, keepdim=True)
    generator = torch.Generator().manual_seed(seed)
    shape = (DIRECTIONS, *moves.shape)
    ends = data[torch.randint(len(data), (2, *shape[:2]), generator=generator)]
    after = _distances(points, data)
    found = {
        "restored": starts.restored.double().mean().item(),
        "length": lengths.median().item(),
        "before": _distances(inputs, data).mean().item(),
        "after": after.mean().item(),
    }
    for name, directions in (
        ("random", torch.randn(shape, generator=generator)),
        ("between", ends[1] - ends[0]),
        ("opposite", -moves[None]),
    ):
        others = _distances(inputs + lengths * F.normalize(directions, dim=-1), data)
        farther = (others > after).double() + (others == after).double() / 2
        found |= {name: others.mean().item(), f"than_{name}": farther.mean().item()}
    return found


def _distances(points: Tensor, data: Tensor) -> Tensor:
    """Return the distances (...) of points (..., D) from the nearest sample of the data (U, D)."""
    exact = "donot_use_mm_for_euclid_dist"
    return torch.cdist(points.contiguous(), data, compute_mode=exact).amin(-1)
