"""What a classifier is shown when it is scored, and when its statistics are recomputed."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ssl_norm.config import AugmentConfig, FinetuneConfig
from ssl_norm.data.corruption import Corruption
from ssl_norm.data.image_set import ImageSet
from ssl_norm.data.order import epoch_order
from ssl_norm.errors import UserError
from ssl_norm.evaluate.features import evaluation_view
from ssl_norm.norms.population import recomputable
from ssl_norm.train.population import MakeViews


def limited(images: ImageSet, limit: int | None, seed: int) -> ImageSet:
    """Return a seeded subset of `limit` images in their order; all, where there are no more or it is None."""
    if limit is None or limit >= len(images):
        return images
    return images.subset(epoch_order(len(images), seed, 0)[:limit].sort().values)


def evaluation_input(config: FinetuneConfig, pixels: Tensor) -> Tensor:
    """Return what the classifier of a run sees of pixels (B, H, W, 3) uint8 in evaluation."""
    pixel = AugmentConfig()
    mean, std = config.augment.mean or pixel.mean, config.augment.std or pixel.std
    return evaluation_view(pixels, config.data.view_size, mean, std)


def corrupting(make_views: MakeViews, corruptions: Sequence[Corruption | None]) -> MakeViews:
    """Return `make_views` of a batch whose equal chunks, in order, are corrupted one by one of these.

    Raises:
        UserError: by what is returned, where a batch has no equal chunks.
    """

    def views(images: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        if len(images) % len(corruptions):
            raise UserError(
                f"a batch of {len(images)} images is not {len(corruptions)} equal chunks, one for each of the "
                "domains; use more images"
            )
        chunks = images.chunk(len(corruptions))
        shifted = [
            chunk if corruption is None else corruption(chunk, generator)
            for chunk, corruption in zip(chunks, corruptions, strict=True)
        ]
        return make_views(torch.cat(shifted), generator)

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
