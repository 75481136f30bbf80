"""Images and views on which a classifier is scored and its statistics are recomputed."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ssl_norm.data.batches.sampler import epoch_order
from ssl_norm.data.corruption.dataset import corrupt_chunks
from ssl_norm.data.corruption.spec import Corruption, parse_corruption
from ssl_norm.data.dataset import ImageSet
from ssl_norm.norms.batch.precise_bn import recomputable
from ssl_norm.train.finetune_builder import TrainingImages
from ssl_norm.train.population import MakeViews


@dataclass(frozen=True)
class Scoring:
    """Images of a fine-tuning, and options of the scores of its classifier."""

    images: TrainingImages
    make_views: MakeViews  # from uint8 images (N, 3, H, W) and a generator to training views
    to_input: Callable[[Tensor], Tensor]  # from uint8 pixels (B, H, W, 3) to evaluation inputs
    domains: Sequence[Corruption | None]  # corruptions of the training images; None: clean
    seed: int  # seed of subsets, corruptions, orders and views
    device: torch.device  # device of the classifier
    statistics: Sequence[str] = ("population", "exact", "batch")  # used for the test images
    limit: int | None = None  # size of a seeded subset of the test images; None: all
    batch_size: int = 256  # images of an evaluation batch
    samples: Sequence[int] = (10_000,)  # images of exact statistics; during training the first
    batch_sizes: Sequence[int] = (256,)  # batches of exact statistics; during training the first
    train: bool = False  # whether to score the labelled images in training views at the end
    corruptions: Sequence[Corruption | None] = ()  # corruptions of the test images at the end
    adapt_samples: Sequence[int] = (10, 100, 1000)  # corrupted images for re-estimated statistics

    def limited(self, images: ImageSet) -> ImageSet:
        """Return a seeded subset of at most `limit` images, in their order."""
        if self.limit is None or self.limit >= len(images):
            return images
        order = epoch_order(len(images), self.seed, 0)
        return images.subset(order[: self.limit].sort().values)


def training_domains(settings: Iterable[Any]) -> list[Corruption | None]:
    """Return the domains in the settings, or [None] (clean images) if there are none."""
    return [parse_corruption(domain) for domain in settings] or [None]


def domain_name(corruption: Corruption | None) -> str:
    """Return the name of a domain in tables."""
    return "clean" if corruption is None else str(corruption)


def corrupting(make_views: MakeViews, corruptions: Sequence[Corruption | None]) -> MakeViews:
    """Return a `make_views` that first corrupts equal chunks of a batch, in this order.

    The returned function raises UserError if a batch does not divide into equal chunks.
    """

    def views(images: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        return make_views(corrupt_chunks(images, corruptions, generator), generator)

    return views


def even_size(samples: int, batch_size: int, available: int, chunks: int = 1) -> int:
    """Return the size up to `batch_size` whose whole batches omit the fewest of `samples`.

    Args:
        samples: total number of images.
        batch_size: largest number of images of a batch.
        available: number of different images, which a batch cannot exceed.
        chunks: divisor of the size.

    Example:
        >>> even_size(10_000, 256, 50_000)
        250
    """
    size = min(samples, batch_size, available)
    size = samples // math.ceil(samples / size)
    return max(chunks, size - size % chunks)


def keeps_statistics(model: nn.Module) -> bool:
    """Return whether the model has batch norms whose statistics are not frozen."""
    try:
        return bool(recomputable(model)[0])
    except ValueError:
        return False
