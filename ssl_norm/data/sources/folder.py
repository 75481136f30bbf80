"""Any folder of images."""

import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_norm.data.cache.cached_pixels import CachedPixels, cached_pixels
from ssl_norm.data.cache.progress import say
from ssl_norm.data.dataset import ImageSet, Splits
from ssl_norm.data.sources.folder_labels import Layout, read_layout
from ssl_norm.data.sources.image_files import existing_folder, find_images, printable
from ssl_norm.data.sources.split import stratified_split
from ssl_norm.errors import UserError


def load_folder(
    *,
    root: str | None,
    image_size: int,
    cache_size: int | None,
    cache_dir: str | None,
    on_corrupt: str,
    workers: int,
    test_fraction: float,
    seed: int,
    progress: bool,
) -> Splits:
    """Return the images of a folder, decoded once into a memory-mapped cache.

    See `read_layout` for what sub-folders mean, `decode` for what becomes of an image and
    `cached_pixels` for when a cache holds. Without a test folder a labelled folder is split by
    `stratified_split`, and pretraining does not see the test part; without labels all images are
    for pretraining (those of a test folder excepted).

    Args: as `ssl_norm.data.load.load_splits`.

    Raises:
        UserError: there are fewer than two images, or as the functions above.
    """
    folder = existing_folder(root)
    listing = find_images(folder)
    _require_two(len(listing.paths), f"in {printable(folder)}", listing.ignored)
    layout = read_layout(listing.paths)
    cached = cached_pixels(
        folder,
        layout.paths,
        side=cached_side(image_size, cache_size),
        cache_dir=cache_dir,
        on_corrupt=on_corrupt,
        workers=workers,
        progress=progress,
    )
    good = [index for index in range(len(layout.paths)) if index not in cached.corrupt]
    _require_two(len(good), f"that decode in {printable(folder)}", len(cached.corrupt))
    if progress:
        _describe(layout, cached, listing.ignored)
    everything = ImageSet(
        _as_tensor(cached.pixels),
        None if layout.labels is None else torch.tensor(layout.labels),
        layout.classes,
        tuple(printable(folder / layout.paths[index]) for index in sorted(cached.corrupt)),
        mapped=True,
    )
    return _split(everything, layout, torch.tensor(good), test_fraction, seed)


def cached_side(image_size: int, cache_size: int | None) -> int:
    """Return the side of a cached image: as asked, or `image_size` up to 64, else 8/7 of it."""
    if cache_size is not None:
        return cache_size
    return image_size if image_size <= 64 else round(image_size * 8 / 7)


def _split(
    everything: ImageSet, layout: Layout, good: Tensor, test_fraction: float, seed: int
) -> Splits:
    """Return the splits of the images at `good`."""
    if layout.is_test is not None:
        is_test = torch.tensor(layout.is_test)[good]
        train, test = good[~is_test], good[is_test]
        _require_two(len(train), "for training that decode", 0)
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
    """Return a tensor over a read-only array, without torch's warning not to write to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(pixels)


def _require_two(count: int, where: str, others: int) -> None:
    if count < 2:
        found = f"found {count} image{'' if count == 1 else 's'} {where}"
        beside = f" (and {others:,} other entries)" if others else ""
        raise UserError(f"{found}{beside}; at least 2 are needed")


def _describe(layout: Layout, cached: CachedPixels, ignored: int) -> None:
    side = cached.pixels.shape[1]
    classes = f" of {len(layout.classes)} classes" if layout.classes else ""
    say(f"{len(layout.paths):,} images{classes}, kept at {side} px in {printable(cached.entry)}")
    if ignored:
        say(f"ignored {ignored:,} hidden entries and files that are no images")
    if cached.corrupt:
        say(f"skipped {len(cached.corrupt):,} files that do not decode")
    for note in layout.notes:
        say(note)
