"""A folder of image files."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Interval

from ssl_norm.data.cache.reader import FolderReader
from ssl_norm.data.dataset import Splits
from ssl_norm.data.sources.encoded_images import decoded_splits, require_two
from ssl_norm.data.sources.folder_labels import read_layout
from ssl_norm.errors import UserError
from ssl_norm.text import printable

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
)


def load_folder(
    *,
    root: str | None = None,
    image_size: Annotated[int, Interval(ge=8, le=8192)] = 96,
    cache_size: Annotated[int, Interval(ge=8, le=8192)] | None = None,
    cache_dir: str | None = None,
    on_corrupt: Literal["stop", "skip"] = "stop",
    workers: Annotated[int, Interval(ge=0, le=1024)] = 2,
    test_fraction: Annotated[float, Interval(gt=0, lt=1)] = 0.2,
    seed: int = 0,
    progress: bool = False,
) -> Splits:
    """Return the images of a folder, decoded once into a memory-mapped cache.

    See `read_layout` for the meaning of sub-folders, `decode` for the pixels of an image,
    `cached_pixels` for the life of a cache and `decoded_splits` for the splits.

    Args:
        root: the folder.
        image_size: side of the views in pixels; the images may be larger.
        cache_size: side of decoded images in pixels; None: `image_size` up to 64, else 8/7 of it.
        cache_dir: folder of the decoded images; None: `~/.cache/ssl_norm`.
        on_corrupt: whether to stop at a file that does not decode, or to skip it.
        workers: processes that decode; 0: this one.
        test_fraction: share held out for evaluation where the folder has labels but no test part.
        seed: of the test part.
        progress: whether to show bars and messages on stderr.

    Raises:
        UserError: there are fewer than two images, or as the functions above.
    """
    folder = existing_folder(root)
    listing = find_images(folder)
    require_two(len(listing.paths), f"in {printable(folder)}", listing.ignored)
    layout = read_layout(listing.paths)
    if listing.ignored:
        note = f"ignored {listing.ignored:,} hidden entries and files that are no images"
        layout = replace(layout, notes=(note, *layout.notes))
    return decoded_splits(
        FolderReader(str(folder)),
        layout,
        image_size=image_size,
        cache_size=cache_size,
        cache_dir=cache_dir,
        on_corrupt=on_corrupt,
        workers=workers,
        test_fraction=test_fraction,
        seed=seed,
        progress=progress,
    )


@dataclass(frozen=True)
class Listing:
    """The images under a folder."""

    paths: tuple[str, ...]  # relative to the folder, with `/`, sorted folder by folder
    ignored: int  # number of hidden entries and of files whose suffix is not in `SUFFIXES`


def existing_folder(root: str | None) -> Path:
    """Return the folder that `data.root` names, absolute, with `~` expanded; UserError if none."""
    if not root:
        raise UserError("data=folder needs data.root=<folder of images>")
    folder = Path(os.path.expanduser(root)).absolute()
    if not os.path.exists(folder):
        raise UserError(f"data.root={root}: there is no folder {folder}")
    if not os.path.isdir(folder):
        raise UserError(f"data.root={root} is a file; expected a folder of images")
    return folder


def find_images(folder: Path) -> Listing:
    """Return all images at any depth of a folder, by their suffix in any case of letters.

    Links to files and folders are followed, but never back into a folder that holds them. Entries
    whose name begins with a dot are ignored.
    """
    paths, ignored = [], 0
    for path in _walk(str(folder), "", frozenset()):
        if os.path.splitext(path)[1].lower() in SUFFIXES and not _is_hidden(path):
            paths.append(path)
        else:
            ignored += 1
    return Listing(tuple(paths), ignored)


def _is_hidden(path: str) -> bool:
    return path.rpartition("/")[2].startswith(".")


def _walk(folder: str, prefix: str, ancestors: frozenset[tuple[int, int]]) -> Iterator[str]:
    """Yield files and hidden entries below `folder`, in order, as `prefix` plus path in it."""
    try:
        stat = os.stat(folder)
        with os.scandir(folder) as entries:
            ordered = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"cannot read folder {printable(folder)}: {error.strerror}") from error
    here = (stat.st_dev, stat.st_ino)
    if here in ancestors:
        return
    for entry in ordered:
        path = prefix + entry.name
        # Unlike `entry.is_dir()`, `isdir` takes a link to itself for no folder.
        is_folder = os.path.isdir(entry) if entry.is_symlink() else entry.is_dir()
        if is_folder and not _is_hidden(path):
            yield from _walk(entry.path, f"{path}/", ancestors | {here})
        else:
            yield path
