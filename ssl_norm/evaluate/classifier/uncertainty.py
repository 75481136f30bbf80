"""Uncertainty over re-drawn batch statistics as a detector of wrong predictions."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ssl_norm.data.batches.image_batches import Batches
from ssl_norm.errors import UserError
from ssl_norm.evaluate.classifier.inputs import Scoring, keeps_statistics
from ssl_norm.evaluate.uncertainty import auroc, probabilities, uncertainty
from ssl_norm.norms.batch.evaluation_statistics import population_statistics_at_evaluation
from ssl_norm.train.builder import naming


def uncertainty_summary(scoring: Scoring, model: nn.Module, draws: int) -> dict[str, float]:
    """Measure how well uncertainties separate wrong from right predictions of the test images.

    Each draw of statistics uses `batch_size` training images in training views. The test images, at
    most `limit`, are held in memory as inputs.

    Args:
        scoring: images and options.
        model: a classifier on its device; not changed.
        draws: number of draws, at least 2.

    Returns:
        Areas under the ROC curve; 0.5 is chance, NaN if all predictions are right or all wrong:

        - `auroc`: mean predictions, ranked by their standard deviation over the draws;
        - `auroc_entropy`: mean predictions, ranked by their entropy;
        - `auroc_max_probability`: baseline without draws: predictions under population statistics,
          ranked by 1 - the largest probability.

        And shares of wrong predictions in [0, 1]: `error_of_mean_top1` of the mean predictions, and
        `error_top1` under population statistics.

    Raises:
        UserError: the model has no batch norms that are not frozen, or the test images have no
            labels.
    """
    if not keeps_statistics(model):
        raise UserError(
            f"evaluation.uncertainty={draws}: the network has no batch norm, or only frozen ones; "
            "use a batch norm, or evaluation.uncertainty=0"
        )
    test = scoring.limited(scoring.images.test)
    if test.labels is None:
        raise UserError("evaluation.uncertainty needs labelled test images, but there are none")
    inputs = scoring.to_input(test.images.to(scoring.device))
    with population_statistics_at_evaluation(model):
        plain = probabilities(model, inputs, batch_size=scoring.batch_size)
    with naming("evaluation.uncertainty"):
        batches = _training_inputs(scoring, draws)
        drawn = uncertainty(model, inputs, batches, batch_size=scoring.batch_size)
    wrong, wrong_of_mean = plain.argmax(1) != test.labels, drawn.classes != test.labels
    return {
        "auroc": auroc(drawn.std, wrong_of_mean),
        "auroc_entropy": auroc(drawn.entropy, wrong_of_mean),
        "auroc_max_probability": auroc(1 - plain.amax(1), wrong),
        "error_of_mean_top1": wrong_of_mean.double().mean().item(),
        "error_top1": wrong.double().mean().item(),
    }


def _training_inputs(scoring: Scoring, draws: int) -> Iterator[Tensor]:
    """Yield training views of random batches of all training images."""
    images, seed = scoring.images.everything, scoring.seed
    size = min(scoring.batch_size, len(images))
    batches = Batches(images, batch_size=size, seed=seed, device=scoring.device)
    generator = torch.Generator().manual_seed(seed)
    for pixels in batches.iterate(0, draws):
        yield scoring.make_views(pixels, generator)[0]
