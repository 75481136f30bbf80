"""Decoded images of a folder in a memory-mapped file, made once; needs no torch."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssl_norm.data.cache.fingerprint import file_digests, stat_fingerprint
from ssl_norm.data.cache.processes import Map, worker_map
from ssl_norm.data.cache.progress import track
from ssl_norm.data.cache.writer import CHUNK, CORRUPT, PIXELS, Source, corrupt_error, write_entry
from ssl_norm.errors import UserError

FORMAT = 1  # raise it when `decode` computes other pixels


@dataclass(frozen=True)
class CachedPixels:
    """Decoded images.

    Attributes:
        pixels: (N, side, side, 3), mapped read-only from a file; a file that does not decode has
            zeros.
        corrupt: why files do not decode, by index.
        entry: the folder that holds the pixels.
    """

    pixels: NDArray[np.uint8]
    corrupt: Mapping[int, str]
    entry: Path


def default_cache_dir() -> Path:
    """Return `$XDG_CACHE_HOME/ssl_norm`, or `~/.cache/ssl_norm`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "ssl_norm"


def cached_pixels(
    folder: Path,
    paths: Sequence[str],
    *,
    side: int,
    cache_dir: str | None,
    on_corrupt: str,
    workers: int,
    progress: bool,
) -> CachedPixels:
    """Return the decoded images of a folder, from the cache if it has them.

    An entry is named after the files' contents and `side`, so that any change of a byte makes
    another entry, and a folder that was moved or copied finds its own again. Reading all contents
    takes a second for 60,000 thumbnails but minutes for many photographs; therefore a second,
    smaller key (`stat_fingerprint`: names, sizes, times) remembers which entry it led to, and as
    long as it holds no file is read.

    Args:
        folder: where the files are.
        paths: relative to it.
        side: of a decoded image, in pixels.
        cache_dir: null: `default_cache_dir()`.
        on_corrupt: `stop` or `skip`: what to do with a file that does not decode.
        workers: processes that read and decode; 0: this one.
        progress: whether to show a bar on stderr.

    Raises:
        UserError: a file does not decode while `on_corrupt=stop`, or the cache cannot be written or
            read.
    """
    home = Path(os.path.expanduser(cache_dir or default_cache_dir())).absolute()
    try:
        entry = _find_or_write(home, folder, paths, side, on_corrupt == "skip", workers, progress)
        cached = _open_entry(entry)
    except OSError as error:
        raise UserError(
            f"cannot use the image cache in {home}: {error.strerror or error}; "
            "choose another folder by data.cache_dir"
        ) from error
    if on_corrupt == "stop" and cached.corrupt:
        index, reason = min(cached.corrupt.items())
        raise corrupt_error(str(folder / paths[index]), reason)
    return cached


def _find_or_write(
    home: Path,
    folder: Path,
    paths: Sequence[str],
    side: int,
    skip_corrupt: bool,
    workers: int,
    progress: bool,
) -> Path:
    (home / "known").mkdir(parents=True, exist_ok=True)
    stat = stat_fingerprint(folder, paths)
    known = home / "known" / f"{FORMAT}-{side}px-{stat.digest}"
    if known.exists() and (home / known.read_text() / CORRUPT).exists():
        return home / known.read_text()
    files = [os.path.join(folder, path) for path in paths]
    with worker_map(workers if len(files) > CHUNK else 0) as run:
        digests = _digests(files, run, progress=progress)
        entry = home / _entry_name(digests, side)
        if not entry.is_dir():
            write_entry(entry, Source(files, digests, side, skip_corrupt), run, progress=progress)
    if stat.settled:
        _write_atomically(known, entry.name)
    return entry


def _digests(files: Sequence[str], run: Map, *, progress: bool) -> list[bytes]:
    count = len(files)
    chunks = (files[first : first + CHUNK] for first in range(0, count, CHUNK))
    parts = track(
        run(file_digests, chunks), "reading files", total=count, step=CHUNK, enabled=progress
    )
    return [digest for part in parts for digest in part]


def _entry_name(digests: Sequence[bytes], side: int) -> str:
    content = hashlib.sha256(b"".join(digests)).hexdigest()
    return f"{FORMAT}-{side}px-{len(digests)}-{content[:32]}"


def _write_atomically(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.write_text(text)
    partial.replace(path)


def _open_entry(entry: Path) -> CachedPixels:
    try:
        pixels = np.load(entry / PIXELS, mmap_mode="r", allow_pickle=False)
        corrupt = json.loads((entry / CORRUPT).read_text())
    except (ValueError, EOFError) as error:
        raise UserError(f"the image cache {entry} is damaged; delete that folder") from error
    return CachedPixels(pixels, {int(index): reason for index, reason in corrupt.items()}, entry)
