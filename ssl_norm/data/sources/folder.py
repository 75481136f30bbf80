"""A folder of image files, decoded once into the cache."""

import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import torch
from annotated_types import Interval
from torch import Tensor

from ssl_norm.console import say
from ssl_norm.data.cache.cached_pixels import Facts, cached_pixels
from ssl_norm.data.cache.decode import FULL_WHITE, MAX_PIXELS
from ssl_norm.data.cache.reader import FolderReader, Reader, location
from ssl_norm.data.dataset import ImageSet, Splits
from ssl_norm.data.sources.folder_labels import Layout, LayoutName, read_layout
from ssl_norm.data.subsets import stratified_split
from ssl_norm.errors import UserError
from ssl_norm.text import counted, printable

READ = re.compile(r"\.(jpe?g|jpe|jfif|png|webp|bmp|tiff?|p[bgnp]m|gif|avif)$", re.IGNORECASE)
# Suffixes of other image formats, which a message names.
UNREAD = re.compile(
    r"\.(hei[cf]|j[px][2flx]|j2k|psd|svg|eps|pdf|ico|tga|dds|exr|hdr|dcm|dng|nef|cr[23]|arw)$",
    re.IGNORECASE,
)
# Folders of operating systems and tools, which hold copies or thumbnails of images.
JUNK = frozenset(("__macosx", "@eadir", "#recycle", "$recycle.bin", "lost+found", "__pycache__"))
_NAMED = 5  # largest number of files in a message
Side = Annotated[int, Interval(ge=8, le=8192)]


def load_folder(
    *,
    root: str | None = None,
    layout: LayoutName = "auto",
    image_size: Side = 96,
    cache_size: Side | None = None,
    white: Annotated[int, Interval(ge=255, le=FULL_WHITE)] | Literal["auto"] | None = None,
    max_pixels: Annotated[int, Interval(ge=64, le=10**10)] = MAX_PIXELS,
    cache_dir: str | None = None,
    on_corrupt: Literal["stop", "skip"] = "stop",
    workers: Annotated[int, Interval(ge=0, le=1024)] = 2,
    test_fraction: Annotated[float, Interval(gt=0, lt=1)] = 0.2,
    seed: int = 0,
    progress: bool = False,
) -> Splits:
    """Return the images of a folder, decoded once into a memory-mapped cache.

    See `read_layout` for the meaning of sub-folders, `decode` for the pixels of an image,
    `cached_pixels` for the cache, and `decoded_splits` for the splits.

    Args:
        root: the folder.
        layout: meaning of its sub-folders; `auto`: see `read_layout`.
        image_size: side of the views in pixels; the images may be larger.
        cache_size: side of decoded images in pixels; None: `image_size` up to 64, else 8/7 of it.
        white: value of white in images of more than 8 bits; None: 65,535; `auto`: by a sample.
        max_pixels: largest number of pixels of an image during decoding.
        cache_dir: folder of the decoded images; None: `~/.cache/ssl_norm`.
        on_corrupt: stop at a file that does not decode, or skip it.
        workers: number of processes that decode; 0: decode in this process.
        test_fraction: share held out for evaluation if the folder has labels but no test part.
        seed: seed of the test part.
        progress: whether to show bars and messages on stderr.

    Raises:
        UserError: there are fewer than two images, or one of these functions raises it.
    """
    folder = existing_folder(root)
    listing = find_images(folder)
    unread = ", ".join(f"{number:,} {suffix}" for suffix, number in sorted(listing.unread.items()))
    others = f", of them {unread}, which are not read: convert them to PNG or JPEG" * bool(unread)
    _require_two(len(listing.paths), f"in {printable(folder)}", listing.ignored, others)
    found = read_layout(listing.paths, layout)
    if listing.ignored:
        one, several = "hidden entry or file", "hidden entries and files"
        kinds = (f"{one} that is not an image", f"{several} that are not images")
        note = f"ignored {counted(listing.ignored, *kinds)}{others}"
        found = replace(found, notes=(*found.notes, note))
    return decoded_splits(
        FolderReader(str(folder), 8 * max_pixels + 2**24),
        found,
        side=cached_side(image_size, cache_size),
        test_fraction=test_fraction,
        seed=seed,
        progress=progress,
        white=white,
        max_pixels=max_pixels,
        cache_dir=cache_dir,
        on_corrupt=on_corrupt,
        workers=workers,
    )


def decoded_splits(
    reader: Reader,
    layout: Layout,
    *,
    side: int,
    test_fraction: float = 0.2,
    seed: int = 0,
    progress: bool = False,
    **cache: Any,
) -> Splits:
    """Return the splits of encoded images.

    If there are labels but no test part, `stratified_split` makes one. Pretraining uses all images
    outside the test part. A source that reads an archive can call this with its own reader.
    `layout` has the identifiers of the reader, for example from `read_layout`; `side` is that of
    the decoded images in pixels; other options are those of `load_folder`.

    Raises:
        UserError: fewer than two images decode, or `cached_pixels` raises it.
    """
    cached = cached_pixels(reader, layout.paths, side=side, progress=progress, **cache)
    count, corrupt = len(layout.paths), sorted(cached.facts.corrupt)
    good = torch.tensor([index for index in range(count) if index not in cached.facts.corrupt])
    _require_two(len(good), f"that decode in {printable(reader.name)}", len(corrupt))
    notes = (*layout.notes, *_notes(layout, cached.facts))
    if progress:
        of_classes = f" of {len(layout.classes)} classes" * bool(layout.classes)
        say(f"{count:,} images{of_classes}, kept at {side} px in {printable(cached.entry)}", *notes)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        pixels = torch.from_numpy(cached.pixels)
    everything = ImageSet(
        pixels,
        None if layout.labels is None else torch.tensor(layout.labels),
        layout.classes,
        tuple(location(reader, layout.paths[index]) for index in corrupt),
        mapped=True,
    )
    return replace(_split(everything, layout, good, test_fraction, seed), notes=notes)


def cached_side(image_size: int, cache_size: int | None) -> int:
    """Return the side of a decoded image; None: `image_size` up to 64, otherwise 8/7 of it."""
    if cache_size is not None:
        return cache_size
    return image_size if image_size <= 64 else round(image_size * 8 / 7)


def _require_two(count: int, where: str, others: int = 0, of_them: str = "") -> None:
    """Raise UserError unless there are at least two images."""
    if count < 2:
        found = f"found {counted(count, 'image')} {where}"
        rest = f" (and {counted(others, 'other entry', 'other entries')}{of_them})" * bool(others)
        raise UserError(f"{found}{rest}; at least 2 are needed")


def _split(
    everything: ImageSet, layout: Layout, good: Tensor, test_fraction: float, seed: int
) -> Splits:
    if layout.is_test is not None:
        is_test = torch.tensor(layout.is_test)[good]
        train, test = good[~is_test], good[is_test]
        _require_two(len(train), "for training that decode")
    elif everything.labels is not None:
        train, test = (
            good[part] for part in stratified_split(everything.labels[good], test_fraction, seed)
        )
    else:
        return Splits(everything.subset(good))
    pretrain = everything.subset(train)
    if everything.labels is None or len(test) == 0:
        return Splits(pretrain)
    return Splits(pretrain, pretrain, everything.subset(test))


def _notes(layout: Layout, facts: Facts) -> Iterator[str]:
    """Yield messages on the decoded files."""
    if corrupt := sorted(facts.corrupt.items()):
        named = [f"{printable(layout.paths[index])} ({why})" for index, why in corrupt[:_NAMED]]
        more = ", ..." * (len(corrupt) > _NAMED)
        yield f"skipped {counted(len(corrupt), 'file')} that cannot be decoded: {', '.join(named)}{more}"
    if facts.composited:
        yield f"{counted(facts.composited, 'partly transparent image')}, composited over white"
    if number := sum(facts.depths.values()):
        dim = sum(count for bits, count in facts.depths.items() if 2**bits <= facts.white // 4)
        darker = f", {dim:,} of them below a quarter of it" if dim else ""
        yield f"{counted(number, 'image')} of more than 8 bits; their white is {facts.white:,}{darker}"


class Listing(NamedTuple):
    """The images under a folder."""

    paths: tuple[str, ...]  # relative to the folder, with `/`, sorted folder by folder
    ignored: int  # number of hidden or junk entries, and of files without a suffix in `READ`
    unread: Mapping[str, int]  # number of images among the ignored entries, by suffix


def existing_folder(root: str | None) -> Path:
    """Return `data.root` as an absolute path; raise UserError if there is no such folder."""
    if not root:
        raise UserError("data=folder needs data.root=<folder of images>")
    folder = Path(os.path.expanduser(root)).absolute()
    if not os.path.exists(folder):
        raise UserError(f"data.root={root}: there is no folder {folder}")
    if not os.path.isdir(folder):
        raise UserError(f"data.root={root} is a file; expected a folder of images")
    return folder


def find_images(folder: Path) -> Listing:
    """Return all images in a folder at any depth, by their suffix in upper or lower case.

    Links are followed, but never into a folder that holds the link. Entries whose name begins with
    a dot, and `JUNK`, are ignored.
    """
    paths, ignored, unread = [], 0, Counter[str]()
    folders = [("", frozenset[tuple[int, int]]())]  # to read, with those that hold them
    while folders:
        prefix, holders = folders.pop()
        here = os.path.join(folder, prefix)
        try:
            status, entries = os.stat(here), list(os.scandir(here))
        except OSError as error:
            raise UserError(f"cannot read folder {printable(here)}: {error.strerror}") from error
        place = status.st_dev, status.st_ino
        if place in holders:
            continue
        for entry in entries:
            path = prefix + entry.name
            is_hidden = entry.name.startswith(".") or entry.name.lower() in JUNK
            # For a link to itself, `isdir` is false; `entry.is_dir()` raises an error.
            is_folder = os.path.isdir(entry) if entry.is_symlink() else entry.is_dir()
            if is_folder and not is_hidden:
                folders.append((f"{path}/", holders | {place}))
            elif READ.search(path) and not is_hidden:
                paths.append(path)
            else:
                ignored += 1
                unread.update(suffix[0].lower() for suffix in UNREAD.finditer(path))
    return Listing(tuple(sorted(paths, key=lambda path: path.split("/"))), ignored, unread)
