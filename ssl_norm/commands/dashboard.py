"""What TensorBoard shows of a whole run: its line on the HParams page, and its features on the Projector page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ssl_norm.config import PretrainConfig
from ssl_norm.data.dataset import ImageSet, Splits
from ssl_norm.evaluate.features import extract_features
from ssl_norm.train.run_folder import RunConfig, norm_names, plain_config
from ssl_norm.train.tensorboard import TensorBoard

FINAL_METRICS = (
    "effective_rank",
    "feature_std",
    "knn_top1",
    "linear_top1",
    "negative_cosine",
    "positive_cosine",
)
NO_SETTINGS = ("run_dir", "resume")  # they differ between all runs, and say nothing of the result


def shown_settings(config: RunConfig) -> dict[str, Any]:
    """Return the settings for the HParams page, norms as text."""
    settings = plain_config(config)
    norms = settings["norm"] | norm_names(config)
    return {key: value for key, value in settings.items() if key not in NO_SETTINGS} | {
        "norm": norms
    }


def complete_dashboard(
    config: PretrainConfig,
    folder: Path,
    encoder: nn.Module,
    splits: Splits,
    summary: Mapping[str, Any],
    device: torch.device,
) -> None:
    """Write what is known at the end of a run: final metrics and, where asked, embeddings."""
    board = TensorBoard(folder, int(summary["steps"]))
    metrics = {name: summary[name] for name in FINAL_METRICS if name in summary}
    board.hyperparameters(shown_settings(config), metrics)
    if config.monitor.embeddings:
        images = splits.test or splits.pretrain
        chosen = images.subset(torch.arange(min(len(images), config.monitor.embeddings)))
        board.projector(*embeddings_of(config, encoder, chosen, device))
    board.close()


def embeddings_of(
    config: PretrainConfig, encoder: nn.Module, images: ImageSet, device: torch.device
) -> tuple[Tensor, list[str] | None, Tensor]:
    """Return features (N, F), names of the classes, and pictures (N, 3, H, W) of images."""
    features = extract_features(
        encoder,
        images,
        image_size=config.data.view_size,
        mean=config.augment.mean,
        std=config.augment.std,
        device=device,
    )
    names = None
    if images.labels is not None:
        known = dict(enumerate(images.classes))
        names = [known.get(label, str(label)) for label in images.labels.tolist()]
    return features, names, images.images.permute(0, 3, 1, 2)
