"""Image files of a folder; needs no torch."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ssl_norm.data.cache.reader import printable
from ssl_norm.errors import UserError

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
)


@dataclass(frozen=True)
class Listing:
    """The images under a folder.

    Attributes:
        paths: relative to the folder, with `/` between parts, sorted folder by folder.
        ignored: number of other entries: hidden ones and files whose suffix is not in `SUFFIXES`.
    """

    paths: tuple[str, ...]
    ignored: int


def existing_folder(root: str | None) -> Path:
    """Return the folder that `data.root` names, absolute, with `~` expanded.

    Raises:
        UserError: it is not given, does not exist or is a file.
    """
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

    Raises:
        UserError: a folder cannot be read.
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
