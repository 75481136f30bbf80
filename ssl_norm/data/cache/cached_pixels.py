"""Decoded images in a memory-mapped file, made once; needs no torch."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssl_norm.console import track
from ssl_norm.data.cache.reader import Reader, content_digests, fingerprint
from ssl_norm.data.cache.writer import (
    CHUNK,
    CORRUPT,
    PIXELS,
    Images,
    corrupt_error,
    worker_map,
    write_entry,
)
from ssl_norm.errors import UserError
from ssl_norm.files import write_text

FORMAT = 1  # raise it when `decode` computes other pixels


@dataclass(frozen=True)
class CachedPixels:
    """Decoded images."""

    pixels: NDArray[np.uint8]  # (N, side, side, 3), mapped read-only; zeros for corrupt images
    corrupt: Mapping[int, str]  # why images do not decode, by index
    entry: Path  # the folder that holds the pixels


def default_cache_dir() -> Path:
    """Return `$XDG_CACHE_HOME/ssl_norm`, or `~/.cache/ssl_norm`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "ssl_norm"


def cached_pixels(
    reader: Reader,
    identifiers: Sequence[str],
    *,
    side: int,
    cache_dir: str | None = None,
    on_corrupt: str = "stop",
    workers: int = 2,
    progress: bool = False,
) -> CachedPixels:
    """Return decoded images, from the cache if it has them.

    An entry is named after the images' bytes and `side`: any changed byte makes another entry, and
    a folder that was moved or copied finds its entry again. Reading all bytes takes a second for
    60,000 thumbnails but minutes for many photographs. So the cache also remembers which entry a
    `fingerprint` led to; while it holds, no image is read.

    Args:
        reader: of the images.
        identifiers: of the images, in the order of the pixels.
        side: of a decoded image, in pixels.
        cache_dir: None: `default_cache_dir()`.
        on_corrupt: `stop` or `skip`, for an image that does not decode.
        workers: processes that read and decode; 0: this one.
        progress: whether to show a bar on stderr.

    Raises:
        UserError: an image does not decode while `on_corrupt=stop`, or the cache is not usable.
    """
    home = Path(os.path.expanduser(cache_dir or default_cache_dir())).absolute()
    images = Images(reader, identifiers, side, skip_corrupt=on_corrupt == "skip")
    try:
        cached = _open_entry(_find_or_write(home, images, workers, progress))
    except OSError as error:
        raise UserError(
            f"cannot use the image cache in {home}: {error.strerror or error}; "
            "choose another folder by data.cache_dir"
        ) from error
    if on_corrupt == "stop" and cached.corrupt:
        index, reason = min(cached.corrupt.items())
        raise corrupt_error(reader, identifiers[index], reason)
    return cached


def _find_or_write(home: Path, images: Images, workers: int, progress: bool) -> Path:
    (home / "known").mkdir(parents=True, exist_ok=True)
    identifiers, side = images.identifiers, images.side
    stamp = fingerprint(images.reader, identifiers)
    known = home / "known" / f"{FORMAT}-{side}px-{stamp.digest}"
    if known.exists() and (home / known.read_text() / CORRUPT).exists():
        return home / known.read_text()
    count = len(identifiers)
    with worker_map(workers if count > CHUNK else 0) as run:
        chunks = (identifiers[first : first + CHUNK] for first in range(0, count, CHUNK))
        parts = run(partial(content_digests, images.reader), chunks)
        read = track(parts, "reading files", total=count, step=CHUNK, enabled=progress)
        digests = [digest for part in read for digest in part]
        content = hashlib.sha256(b"".join(digests)).hexdigest()
        entry = home / f"{FORMAT}-{side}px-{count}-{content[:32]}"
        if not entry.is_dir():
            write_entry(entry, images, digests, run, progress=progress)
    if stamp.settled:
        write_text(known, entry.name)
    return entry


def _open_entry(entry: Path) -> CachedPixels:
    try:
        pixels = np.load(entry / PIXELS, mmap_mode="r", allow_pickle=False)
        corrupt = json.loads((entry / CORRUPT).read_text())
    except (ValueError, EOFError) as error:
        raise UserError(f"the image cache {entry} is damaged; delete that folder") from error
    return CachedPixels(pixels, {int(index): reason for index, reason in corrupt.items()}, entry)
