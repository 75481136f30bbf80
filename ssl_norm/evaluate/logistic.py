"""Linear classifiers of features: logistic regression with an L2 penalty, and SGD."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_norm.data.subsets import stratified_split

INVERSE_STRENGTHS = tuple(10 ** (half_decade / 2) for half_decade in range(-10, 7))
CHOICE_TOLERANCE = 1e-3  # changes held-out accuracies by less than their sampling error
FINAL_TOLERANCE = 1e-5


class LinearClassifier(NamedTuple):
    """Scores of K classes that are linear in F features."""

    weight: Tensor  # (K, F)
    bias: Tensor  # (K,)

    def scores(self, features: Tensor) -> Tensor:
        """Return (N, K) scores of (N, F) features."""
        return F.linear(features, self.weight, self.bias)


def fit_logistic(
    features: Tensor, labels: Tensor, classes: int, inverse_strength: float
) -> LinearClassifier:
    """Return the classifier with the least cross-entropy plus L2 penalty on its weights.

        sum_i -log softmax(W x_i + b)[label_i] + |W|^2 / (2 inverse_strength),  b without penalty

    `inverse_strength` is scikit-learn's `C`, and for three classes or more the objective is that of
    its LogisticRegression. (For two classes, scikit-learn fits one weight vector; its objective at
    2 C equals ours at C.)

    Features are (N, F), ideally with zero mean and unit deviation, in the dtype of the computation;
    labels are (N,) integers in [0, K), on the same device, with K = `classes`.

    Source: L-BFGS (Liu & Nocedal 1989) with a strong Wolfe search, in coordinates in which the
        Hessian at W = 0, X^T X / (K N) + penalty, is the identity. Spectra of learned features
        cover many decades; in these coordinates tens of steps suffice instead of hundreds.
    """
    return next(fit_path(features, labels, classes, [inverse_strength], FINAL_TOLERANCE))


def choose_inverse_strength(features: Tensor, labels: Tensor, classes: int, seed: int) -> float:
    """Return the value of `INVERSE_STRENGTHS` with the best accuracy on a held-out fifth.

    Arguments are those of :func:`fit_logistic`, and the seed of the held-out samples, which are the
    same share of every class. Cross-entropy breaks ties. If no class has two samples, no sample can
    be held out, and the result is 1.
    """
    kept, held_out = stratified_split(labels.cpu(), 0.2, seed)
    if len(held_out) == 0:
        return 1.0
    path = fit_path(features[kept], labels[kept], classes, INVERSE_STRENGTHS, CHOICE_TOLERANCE)
    test_features, test_labels = features[held_out], labels[held_out]

    def quality(classifier: LinearClassifier) -> tuple[float, float]:
        scores = classifier.scores(test_features)
        accuracy = (scores.argmax(dim=1) == test_labels).double().mean().item()
        return accuracy, -F.cross_entropy(scores, test_labels).item()

    qualities = [quality(classifier) for classifier in path]
    return INVERSE_STRENGTHS[qualities.index(max(qualities))]


def fit_path(
    features: Tensor,
    labels: Tensor,
    classes: int,
    inverse_strengths: Sequence[float],
    tolerance: float,
) -> Iterator[LinearClassifier]:
    """Yield the classifier for each strength; every fit starts from the previous result.

    Arguments are those of :func:`fit_logistic`; strengths are preferably ascending. `tolerance` is
    the largest entry of the gradient at the end, per sample and in the preconditioned coordinates.
    """
    curvatures, axes = torch.linalg.eigh(features.T @ features / (classes * len(features)))
    end = LinearClassifier(
        features.new_zeros(classes, features.shape[1]), features.new_zeros(classes)
    )
    for inverse_strength in inverse_strengths:
        penalty = 1 / (inverse_strength * len(features))
        from_unit = (curvatures.clamp(min=0) + penalty).rsqrt()[:, None] * axes.T  # (F, F)
        to_unit = axes * (curvatures.clamp(min=0) + penalty).sqrt()
        unit = (end.weight @ to_unit, end.bias)
        unit = _minimise(features, labels, penalty, from_unit, unit, tolerance)
        end = LinearClassifier(unit[0] @ from_unit, unit[1])
        yield end


def _minimise(
    features: Tensor,
    labels: Tensor,
    penalty: float,
    from_unit: Tensor,
    start: tuple[Tensor, Tensor],
    tolerance: float,
) -> tuple[Tensor, Tensor]:
    """Return the minimum of mean cross-entropy + penalty |weight @ from_unit|^2 / 2."""
    weight, bias = (part.clone().requires_grad_() for part in start)
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=500,
        history_size=20,
        tolerance_grad=tolerance,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def objective() -> Tensor:
        optimizer.zero_grad()
        classifier = LinearClassifier(weight @ from_unit, bias)
        loss = F.cross_entropy(classifier.scores(features), labels)
        loss = loss + penalty / 2 * classifier.weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(objective)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach()


def standardize(train: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """Return features (N, F), standardized by mean and standard deviation of the first, `train`.

    Statistics are computed in float64 with correction=0. A feature that varies by no more than the
    rounding of its dtype counts as constant, and is only centred.
    """
    variance, mean = torch.var_mean(train.double(), dim=0, correction=0)
    std = variance.sqrt()
    rounding = torch.finfo(train.dtype).eps * mean.abs()
    scale = torch.where(std > rounding, std, 1.0)
    mean, scale = mean.to(train.dtype), scale.to(train.dtype)
    return tuple((features - mean) / scale for features in (train, *others))


def fit_sgd_probe(
    features: Tensor,
    labels: Tensor,
    classes: int,
    *,
    lr: float = 0.1,
    epochs: int = 100,
    batch_size: int = 256,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    seed: int = 0,
) -> LinearClassifier:
    """Return a linear classifier trained by Nesterov SGD with a cosine schedule per step.

    Unlike in the papers, the features are computed only once, from the plain images and not from
    new random crops in every epoch. They are not standardized, so the best rate depends on their
    scale.

    Args:
        features: (N, F).
        labels: (N,) integers in [0, `classes`), on the features' device.
        classes: number of classes.
        lr: initial rate, not scaled by the batch size; it falls to 0.
        epochs: passes over the samples; the last batch of each may be smaller.
        batch_size: samples per step.
        momentum: in [0, 1).
        weight_decay: L2 coefficient, on weight and bias.
        seed: seed of the order of the samples; weights start at 0.

    Source: the linear evaluations of BYOL (arXiv 2006.07733) and of SimCLR (arXiv 2002.05709),
        without SimCLR's scaling of the rate.
    """
    weight = features.new_zeros(classes, features.shape[1]).requires_grad_()
    bias = features.new_zeros(classes).requires_grad_()
    optimizer = torch.optim.SGD(
        [weight, bias], lr, momentum, weight_decay=weight_decay, nesterov=momentum > 0
    )
    generator = torch.Generator().manual_seed(seed)
    steps = epochs * math.ceil(len(features) / batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(epochs):
        order = torch.randperm(len(features), generator=generator).to(features.device)
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            optimizer.zero_grad()
            loss = F.cross_entropy(F.linear(features[batch], weight, bias), labels[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return LinearClassifier(weight.detach(), bias.detach())
