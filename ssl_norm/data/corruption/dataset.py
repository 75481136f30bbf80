"""Corrupted batches and sets of images."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Generator, Tensor

from ssl_norm.data.batches.sampler import seeded_generator
from ssl_norm.data.corruption.spec import Corruption
from ssl_norm.data.dataset import ImageSet
from ssl_norm.errors import UserError

_CHUNK = 256  # images that share a generator


def corrupt_chunks(
    images: Tensor, corruptions: Sequence[Corruption | None], generator: Generator
) -> Tensor:
    """Split a batch (N, 3, H, W) uint8 into equal chunks, and apply a corruption to each.

    None leaves a chunk clean. Raise UserError if the batch does not divide into equal chunks.
    """
    if corruptions and len(images) % len(corruptions):
        raise UserError(
            f"a batch of {len(images)} images is not {len(corruptions)} equal chunks, one for each "
            "of the domains; use more images"
        )
    if not any(corruptions):
        return images
    shifted = images.clone()
    for chunk, corruption in zip(shifted.chunk(len(corruptions)), corruptions, strict=True):
        if corruption is not None:
            chunk.copy_(corruption(chunk, generator))
    return shifted


def corrupted(images: ImageSet, corruption: Corruption | None, seed: int) -> ImageSet:
    """Return a set with every image corrupted once, at its stored size; None: the unchanged set.

    Noise is drawn for chunks of 256 images, from the seed and the number of the chunk. The noise of
    an image therefore depends on its place in the set.
    """
    if corruption is None:
        return images
    pixels = torch.empty((len(images), *images.image_shape), dtype=torch.uint8)
    for number, first in enumerate(range(0, len(images), _CHUNK)):
        index = torch.arange(first, min(first + _CHUNK, len(images)))
        clean = images.take(index).permute(0, 3, 1, 2)
        done = corruption(clean, seeded_generator(seed, number))
        pixels[first : first + _CHUNK] = done.permute(0, 2, 3, 1)
    return replace(images, pixels=pixels, rows=None, mapped=False)
