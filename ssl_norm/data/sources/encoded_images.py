"""Splits of encoded images, decoded once into the cache."""

import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_norm.console import say
from ssl_norm.data.cache.cached_pixels import CachedPixels, cached_pixels
from ssl_norm.data.cache.reader import Reader, location
from ssl_norm.data.dataset import ImageSet, Splits
from ssl_norm.data.sources.folder_labels import Layout
from ssl_norm.data.subsets import stratified_split
from ssl_norm.errors import UserError
from ssl_norm.text import printable

_NAMED = 5  # files that a note names


def decoded_splits(
    reader: Reader,
    layout: Layout,
    *,
    image_size: int,
    cache_size: int | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
    progress: bool = False,
    **cache: Any,
) -> Splits:
    """Return the splits of encoded images.

    Without a test part, labelled images are split by `stratified_split`, and pretraining does not
    see the test part; without labels, all images outside the test part are for pretraining.

    Args:
        reader: of the images, such as `FolderReader`; a source for an archive brings another one.
        layout: identifiers, labels and test part, for example by `read_layout`.
        image_size: side of the views in pixels.
        cache_size: side of the decoded images in pixels; None: see `cached_side`.
        test_fraction: share of the test part where the layout has none, in (0, 1).
        seed: of that split.
        progress: whether to show bars and messages on stderr.
        **cache: `white`, `max_pixels`, `cache_dir`, `on_corrupt` and `workers` of `cached_pixels`.

    Raises:
        UserError: fewer than two images decode, or as `cached_pixels`.
    """
    side = cached_side(image_size, cache_size)
    cached = cached_pixels(reader, layout.paths, side=side, progress=progress, **cache)
    corrupt = cached.facts.corrupt
    good = [index for index in range(len(layout.paths)) if index not in corrupt]
    require_two(len(good), f"that decode in {printable(reader.name)}", len(corrupt))
    notes = (*layout.notes, *_notes(layout, cached))
    if progress:
        count, classes = len(layout.paths), len(layout.classes)
        of_classes = f" of {classes} classes" if classes else ""
        say(f"{count:,} images{of_classes}, kept at {side} px in {printable(cached.entry)}")
        for note in notes:
            say(note)
    everything = ImageSet(
        _as_tensor(cached.pixels),
        None if layout.labels is None else torch.tensor(layout.labels),
        layout.classes,
        tuple(location(reader, layout.paths[index]) for index in sorted(corrupt)),
        mapped=True,
    )
    splits = _split(everything, layout, torch.tensor(good), test_fraction, seed)
    return replace(splits, notes=notes)


def cached_side(image_size: int, cache_size: int | None) -> int:
    """Return the side of a decoded image: as given, or `image_size` up to 64, else 8/7 of it."""
    if cache_size is not None:
        return cache_size
    return image_size if image_size <= 64 else round(image_size * 8 / 7)


def require_two(count: int, where: str, others: int, of_them: str = "") -> None:
    """Raise UserError unless there are two images; `where` follows their number in the message."""
    if count < 2:
        found = f"found {count} image{'' if count == 1 else 's'} {where}"
        rest = f" (and {others:,} other entries{of_them})" if others else ""
        raise UserError(f"{found}{rest}; at least 2 are needed")


def _split(
    everything: ImageSet, layout: Layout, good: Tensor, test_fraction: float, seed: int
) -> Splits:
    if layout.is_test is not None:
        is_test = torch.tensor(layout.is_test)[good]
        train, test = good[~is_test], good[is_test]
        require_two(len(train), "for training that decode", 0)
    elif everything.labels is not None:
        parts = stratified_split(everything.labels[good], test_fraction, seed)
        train, test = good[parts[0]], good[parts[1]]
    else:
        return Splits(everything.subset(good))
    pretrain = everything.subset(train)
    if everything.labels is None or len(test) == 0:
        return Splits(pretrain)
    return Splits(pretrain, pretrain, everything.subset(test))


def _as_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(pixels)


def _notes(layout: Layout, cached: CachedPixels) -> Iterator[str]:
    """Yield sentences on the facts that decoding found."""
    facts = cached.facts
    if facts.corrupt:
        named = [
            f"{printable(layout.paths[i])} ({why})" for i, why in sorted(facts.corrupt.items())
        ]
        more = ", ..." if len(named) > _NAMED else ""
        shown = ", ".join(named[:_NAMED])
        yield f"skipped {len(named):,} files that do not decode: {shown}{more}"
    if facts.composited:
        yield f"{facts.composited:,} images are partly transparent, composited over white"
    if facts.depths:
        dim = sum(number for bits, number in facts.depths.items() if 2**bits <= cached.white // 4)
        number, darker = sum(facts.depths.values()), f", {dim:,} of them below a quarter of it"
        yield (
            f"{number:,} images of more than 8 bits; their white is {cached.white:,}"
            f"{darker if dim else ''}"
        )
