"""What a classifier is shown when it is scored, and when its statistics are recomputed."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ssl_norm.config import FinetuneConfig
from ssl_norm.data.batches.sampler import epoch_order
from ssl_norm.data.corruption.dataset import corrupt_chunks
from ssl_norm.data.corruption.spec import Corruption, parse_corruption
from ssl_norm.data.dataset import ImageSet
from ssl_norm.evaluate.features import evaluation_view
from ssl_norm.norms.batch.precise_bn import recomputable
from ssl_norm.train.population import MakeViews


def limited(images: ImageSet, limit: int | None, seed: int) -> ImageSet:
    """Return a seeded subset of `limit` images in their order; all, where there are no more or it is None."""
    if limit is None or limit >= len(images):
        return images
    return images.subset(epoch_order(len(images), seed, 0)[:limit].sort().values)


def evaluation_input(config: FinetuneConfig, pixels: Tensor) -> Tensor:
    """Return what the classifier of a run sees of pixels (B, H, W, 3) uint8 in evaluation."""
    return evaluation_view(pixels, config.data.view_size, *config.augment.normalization)


def training_domains(config: FinetuneConfig) -> list[Corruption | None]:
    """Return the domains that a run is trained on; where none are named, clean images."""
    return [parse_corruption(domain) for domain in config.domains] or [None]


def corrupting(make_views: MakeViews, corruptions: Sequence[Corruption | None]) -> MakeViews:
    """Return `make_views` of a batch whose equal chunks, in order, are corrupted one by one of these.

    Raises:
        UserError: by what is returned, where a batch has no equal chunks.
    """

    def views(images: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        return make_views(corrupt_chunks(images, corruptions, generator), generator)

    return views


def even_size(samples: int, batch_size: int, available: int, chunks: int = 1) -> int:
    """Return a size up to `batch_size` whose whole batches leave out as few of `samples` as can be.

    Args:
        samples: images in all.
        batch_size: images of a batch, at most.
        available: how many images there are, which a batch cannot exceed.
        chunks: the size is a multiple of it.

    Example:
        >>> even_size(10_000, 256, 50_000)
        250
    """
    size = min(samples, batch_size, available)
    size = samples // math.ceil(samples / size)
    return max(chunks, size - size % chunks)


def keeps_statistics(model: nn.Module) -> bool:
    """Whether the model has batch norms whose statistics can be recomputed; frozen ones cannot."""
    try:
        return bool(recomputable(model)[0])
    except ValueError:
        return False
