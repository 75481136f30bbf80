"""Writing a cache entry: all or nothing, by several processes; needs no torch."""

import json
import os
import secrets
import shutil
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssl_norm.data.cache.decode import DecodeError, decode
from ssl_norm.data.cache.fingerprint import content_digest
from ssl_norm.data.cache.processes import Map
from ssl_norm.data.cache.progress import track
from ssl_norm.data.sources.image_files import printable
from ssl_norm.errors import UserError

PIXELS, CORRUPT = "pixels.npy", "corrupt.json"
CHUNK = 32  # files per job


@dataclass(frozen=True)
class Source:
    """The files that a cache entry is made of.

    Attributes:
        files: their absolute paths.
        digests: of their contents, in the same order.
        side: of the decoded images, in pixels.
        skip_corrupt: whether files that do not decode are recorded rather than an error.
    """

    files: Sequence[str]
    digests: Sequence[bytes]
    side: int
    skip_corrupt: bool


@dataclass(frozen=True)
class _Job:
    """A stretch of a source, and where its pixels go."""

    source: Source
    first: int
    pixel_file: Path
    offset: int


def write_entry(entry: Path, source: Source, run: Map, *, progress: bool) -> None:
    """Decode all files into the folder `entry`, which appears complete or not at all.

    The work is done under another name beside it, which is removed when anything goes wrong; what a
    killed process left there is removed by the next one. Of two processes that write the same entry
    the first to end wins.

    Raises:
        UserError: a file does not decode and is not to be skipped, a file changes meanwhile, or
            there is no room.
    """
    remove_partial_entries(entry.parent)
    _require_room(entry.parent, len(source.files) * source.side**2 * 3)
    token = secrets.token_hex(4)
    partial = entry.parent / f".partial-{socket.gethostname()}-{os.getpid()}-{token}"
    partial.mkdir()
    try:
        corrupt = _decode_all(partial / PIXELS, source, run, progress=progress)
        (partial / CORRUPT).write_text(json.dumps(corrupt))
        for name in (PIXELS, CORRUPT):
            with open(partial / name, "r+b") as file:
                os.fsync(file.fileno())
        try:
            partial.rename(entry)
        except OSError:
            if not entry.is_dir():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove_partial_entries(home: Path) -> None:
    """Remove what processes of this machine that no longer live left half-made."""
    for partial in home.glob(f".partial-{socket.gethostname()}-*"):
        if not _is_alive(int(partial.name.split("-")[-2])):
            shutil.rmtree(partial, ignore_errors=True)


def corrupt_error(file: str, reason: str) -> UserError:
    """Return the error for a file that does not decode."""
    return UserError(
        f"{printable(file)} does not decode ({reason}); "
        "repair or remove it, or go on without such files by data.on_corrupt=skip"
    )


def _decode_all(pixel_file: Path, source: Source, run: Map, *, progress: bool) -> dict[int, str]:
    """Write the pixels of all files; return the reasons why files do not decode, by index."""
    count = len(source.files)
    shape = (count, source.side, source.side, 3)
    offset = np.lib.format.open_memmap(pixel_file, mode="w+", dtype=np.uint8, shape=shape).offset
    jobs = (
        _Job(_stretch(source, first), first, pixel_file, offset) for first in range(0, count, CHUNK)
    )
    corrupt: dict[int, str] = {}
    for part in track(
        run(_decode_chunk, jobs), "decoding images", total=count, step=CHUNK, enabled=progress
    ):
        corrupt.update(part)
    return corrupt


def _stretch(source: Source, first: int) -> Source:
    part = slice(first, first + CHUNK)
    return Source(source.files[part], source.digests[part], source.side, source.skip_corrupt)


def _decode_chunk(job: _Job) -> dict[int, str]:
    """Decode one stretch into its place; return why files do not decode, by index in the whole."""
    corrupt = {}
    size = job.source.side**2 * 3
    with open(job.pixel_file, "r+b") as pixels:
        for index, file in enumerate(job.source.files, start=job.first):
            try:
                image = decode(_read(file, job.source.digests[index - job.first]), job.source.side)
            except DecodeError as error:
                if not job.source.skip_corrupt:
                    raise corrupt_error(file, str(error)) from error
                corrupt[index] = str(error)
                continue
            pixels.seek(job.offset + index * size)
            pixels.write(image.tobytes())
    return corrupt


def _read(file: str, digest: bytes) -> bytes:
    """Return a file's bytes, which must be those whose digest the entry is named after."""
    try:
        data, reason = Path(file).read_bytes(), None
    except OSError as error:
        data, reason = b"", error.strerror
    if content_digest(data) != digest:
        raise UserError(f"{printable(file)} changed while it was being cached; run again")
    if reason is not None:
        raise DecodeError(reason)
    return data


def _require_room(home: Path, needed: int) -> None:
    free = shutil.disk_usage(home).free
    if needed > free:
        raise UserError(
            f"the image cache needs {needed / 1e9:.2f} GB in {home}, "
            f"where {free / 1e9:.2f} GB are free; "
            "choose another folder by data.cache_dir or a lower data.cache_size"
        )


def _is_alive(process: int) -> bool:
    if os.name == "nt":  # where signal 0 is Ctrl-C
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
