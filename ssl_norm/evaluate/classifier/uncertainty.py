"""Whether the spread of predictions over batch statistics tells wrong from right ones."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ssl_norm.config import FinetuneConfig
from ssl_norm.data.batches.image_batches import Batches
from ssl_norm.errors import UserError
from ssl_norm.evaluate.classifier.inputs import evaluation_input, keeps_statistics, limited
from ssl_norm.evaluate.uncertainty import auroc, probabilities, uncertainty
from ssl_norm.norms.batch.evaluation_statistics import population_statistics_at_evaluation
from ssl_norm.train.builder import naming
from ssl_norm.train.finetune_builder import TrainingImages
from ssl_norm.train.population import MakeViews


def uncertainty_summary(
    config: FinetuneConfig,
    model: nn.Module,
    images: TrainingImages,
    *,
    make_views: MakeViews,
    device: torch.device,
) -> dict[str, float]:
    """Return how well uncertainties separate wrong from right predictions of the test images.

    Statistics are drawn `evaluation.uncertainty` times, each from `evaluation.batch_size` training images in training
    views. The test images, no more than `evaluation.limit`, are held in memory as inputs.

    Args:
        config: of the run.
        model: a classifier on `device`; as before afterwards.
        images: of the run.
        make_views: from uint8 images (N, 3, H, W) and a generator to (views,), as in training.
        device: of the model.

    Returns:
        Areas under the ROC curve, 0.5 is chance and NaN where all predictions are right or all wrong:

        - `auroc`: by the standard deviation over the draws, of the mean predictions;
        - `auroc_entropy`: by the entropy of the mean predictions;
        - `auroc_max_probability`: by 1 - the largest probability under population statistics, of those
          predictions: what is to be had without drawing.

        And shares of wrong predictions in [0, 1]: `error_of_mean_top1` of the mean predictions, and
        `error_top1` under population statistics.

    Raises:
        UserError: the model has no batch norms to draw statistics for, or less than 2 draws are asked for.
    """
    draws = config.evaluation.uncertainty
    if draws < 2:
        raise UserError(f"evaluation.uncertainty={draws}: a spread needs at least 2 draws")
    if not keeps_statistics(model):
        raise UserError(
            f"evaluation.uncertainty={draws}: norm.encoder={config.norm.encoder} has no batch statistics to draw, or "
            "frozen ones; use a batch norm, or evaluation.uncertainty=0"
        )
    test = limited(images.test, config.evaluation.limit, config.seed)
    if test.labels is None:
        raise UserError("evaluation.uncertainty needs labelled test images, and there are none")
    inputs = evaluation_input(config, test.images.to(device))
    with population_statistics_at_evaluation(model):
        plain = probabilities(model, inputs, batch_size=config.evaluation.batch_size)
    with naming("evaluation.uncertainty"):
        drawn = uncertainty(
            model,
            inputs,
            training_inputs(config, images, make_views, device),
            batch_size=config.evaluation.batch_size,
        )
    wrong, wrong_of_mean = plain.argmax(1) != test.labels, drawn.classes != test.labels
    return {
        "auroc": auroc(drawn.std, wrong_of_mean),
        "auroc_entropy": auroc(drawn.entropy, wrong_of_mean),
        "auroc_max_probability": auroc(1 - plain.amax(1), wrong),
        "error_of_mean_top1": wrong_of_mean.double().mean().item(),
        "error_top1": wrong.double().mean().item(),
    }


def training_inputs(
    config: FinetuneConfig, images: TrainingImages, make_views: MakeViews, device: torch.device
) -> Iterator[Tensor]:
    """Yield training views of `evaluation.uncertainty` random batches of all training images."""
    size = min(config.evaluation.batch_size, len(images.everything))
    batches = Batches(images.everything, batch_size=size, seed=config.seed, device=device)
    generator = torch.Generator().manual_seed(config.seed)
    for pixels in batches.iterate(0, config.evaluation.uncertainty):
        yield make_views(pixels, generator)[0]
