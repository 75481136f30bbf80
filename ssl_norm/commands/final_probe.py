"""Linear probe and embeddings of an encoder at the end of its pretraining."""

from functools import partial

import torch
from torch import Tensor, nn

from ssl_norm.data.dataset import Splits
from ssl_norm.evaluate.baselines import evaluate_with_baselines
from ssl_norm.evaluate.features import evaluation_view, extract_features
from ssl_norm.evaluate.protocol import Probe, ProbeImages, evaluate_encoder
from ssl_norm.settings.pretrain import PretrainSettings
from ssl_norm.train.builder import initial_encoder


def linear_probe(
    config: PretrainSettings, encoder: nn.Module, splits: Splits, device: torch.device
) -> dict[str, float]:
    """Return linear and kNN top-1 of the encoder and of its baselines, and chance.

    Without labels the result is empty.
    """
    if splits.train is None or splits.test is None:
        return {}
    evaluate = partial(
        evaluate_encoder,
        images=ProbeImages(splits.train, splits.test, _to_input(config)),
        probe=Probe(labels=config.probe_labels, seed=config.seed),
        device=device,
        progress=True,
    )
    found = evaluate_with_baselines(evaluate, encoder, initial_encoder(config)[0])
    ends = {name: f"_{name}" * (name != "trained") for name in found}
    return {
        **{f"linear_top1{ends[name]}": one.top1 for name, one in found.items()},
        **{f"knn_top1{ends[name]}": one.knn_top1 for name, one in found.items()},
        "chance": found["trained"].chance,
        "probe_labels": config.probe_labels,
    }


def embeddings(
    config: PretrainSettings, encoder: nn.Module, splits: Splits, device: torch.device
) -> tuple[Tensor, list[str] | None, Tensor]:
    """Return features (N, F) and class names of the first images, and the images (N, 3, H, W)."""
    images = splits.test or splits.pretrain
    images = images.subset(torch.arange(min(len(images), config.monitor.embeddings)))
    features = extract_features(encoder, images, _to_input(config), device=device)
    names = None
    if images.labels is not None:
        known = dict(enumerate(images.classes))
        names = [known.get(label, str(label)) for label in images.labels.tolist()]
    return features, names, images.images.permute(0, 3, 1, 2)


def _to_input(config: PretrainSettings) -> "partial[Tensor]":
    size, augment = config.data.view_size, config.augment
    return partial(evaluation_view, image_size=size, mean=augment.mean, std=augment.std)
