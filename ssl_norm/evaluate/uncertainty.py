"""Uncertainty of predictions from re-drawn batch statistics."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ssl_norm.norms.batch.evaluation_statistics import (
    kept_statistics,
    population_statistics_at_evaluation,
)
from ssl_norm.norms.batch.freezing import evaluation_mode
from ssl_norm.norms.batch.precise_bn import recompute_statistics


class Predictions(NamedTuple):
    """Predictions of N inputs over n draws of batch statistics, float64 on the CPU.

    Attributes:
        mean: (N, K) mean probability of each class.
        std: (N,) standard deviation over the draws of the probability of the predicted class (the
            largest of `mean`), in [0, 0.71]; 0 if predictions do not depend on batch statistics.
        entropy: (N,) entropy of `mean` in nats, in [0, ln K].
        draws: n.
    """

    mean: Tensor
    std: Tensor
    entropy: Tensor
    draws: int

    @property
    def classes(self) -> Tensor:
        """The predicted classes, (N,)."""
        return self.mean.argmax(1)


def uncertainty(
    model: nn.Module, inputs: Tensor, batches: Iterable[Tensor], *, batch_size: int = 256
) -> Predictions:
    """Predict the same inputs repeatedly, with the statistics of a different batch each time.

    Import it from the module `ssl_norm.evaluate.uncertainty`.

    Before each of n passes, every batch norm gets the mean and the unbiased variance of one batch,
    see :func:`~ssl_norm.norms.batch.precise_bn.recompute_statistics`. Then the inputs are predicted
    in evaluation mode, independently of each other, even if norms have `evaluation: batch`. The
    uncertainty is the spread of the predictions over the batches. It is larger for smaller batches,
    so batches should be as large as in training.

    Args:
        model: maps inputs to logits (N, K), with batch norms that are not frozen; not changed. With
            `domain` norms, call inside `domain_labels`.
        inputs: (N, ...) on the model's device.
        batches: n >= 2 batches of training inputs, (B, ...) on the model's device.
        batch_size: inputs per forward pass; it does not change the result.

    Raises:
        ValueError: there is no batch norm that is not frozen, there are fewer than 2 batches, or
            statistics are not finite.

    Source: Kocyigit et al., "Unsupervised Batch Normalization", CVPR Workshops 2020; with batches
        of training it is the estimate of Teye et al., "Bayesian Uncertainty Estimation for Batch
        Normalized Deep Networks", arXiv 1802.06455.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
        >>> found = uncertainty(model, torch.randn(5, 2), torch.randn(10, 16, 2))
        >>> found.mean.shape, found.std.shape, found.draws
        (torch.Size([5, 3]), torch.Size([5]), 10)
    """
    moments: tuple[Tensor, Tensor] | None = None
    draws = 0
    with kept_statistics(model), population_statistics_at_evaluation(model), torch.no_grad():
        for draws, batch in enumerate(batches, start=1):
            recompute_statistics(model, [batch])
            moments = _add_draw(moments, probabilities(model, inputs, batch_size=batch_size), draws)
    if moments is None or draws < 2:
        raise ValueError(f"a spread needs at least 2 batches to draw statistics from, got {draws}")
    mean, squares = moments
    predicted = squares.gather(1, mean.argmax(1, keepdim=True))[:, 0]
    std = (predicted / (draws - 1)).sqrt()
    return Predictions(mean, std, -torch.xlogy(mean, mean).sum(1), draws)


def probabilities(model: nn.Module, inputs: Tensor, *, batch_size: int = 256) -> Tensor:
    """Return probabilities (N, K) of inputs (N, ...) in evaluation mode, float64 on the CPU."""
    with evaluation_mode(model), torch.no_grad():
        logits = [model(part).float().cpu() for part in torch.split(inputs, batch_size)]
    return torch.cat(logits).double().softmax(1)


def _add_draw(
    moments: tuple[Tensor, Tensor] | None, draw: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Update mean and summed squared deviations of the draws with draw number `count`."""
    if moments is None:
        return draw, torch.zeros_like(draw)
    mean, squares = moments
    shift = draw - mean
    mean = mean + shift / count
    return mean, squares + shift * (draw - mean)


def auroc(scores: Tensor, positive: Tensor) -> float:
    """Return the area under the ROC curve: the share of pairs with a higher score for the positive.

    Ties count half. 0.5 is chance and 1 a perfect separation; NaN if there are no positive or no
    negative samples, or a score is NaN. Scores and boolean labels are (N,).

    Example:
        >>> auroc(torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([False, False, True, True]))
        0.75
    """
    positives, negatives = scores[positive], scores[~positive].sort().values
    if not len(positives) or not len(negatives) or scores.isnan().any():
        return float("nan")
    below = torch.searchsorted(negatives, positives)
    not_above = torch.searchsorted(negatives, positives, right=True)
    wins = (below + not_above).double() / 2
    return (wins.mean() / len(negatives)).item()
