"""Writer of a cache entry: all or nothing, by several processes; needs no torch."""

import json
import os
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import numpy as np

from ssl_norm.console import track
from ssl_norm.data.cache.decode import DecodeError, Rules, decode
from ssl_norm.data.cache.reader import Reader, content_digest, location
from ssl_norm.errors import UserError
from ssl_norm.files import unfinished

PIXELS, FACTS = "pixels.npy", "facts.json"
CHUNK = 32  # images per job
Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]


@dataclass(frozen=True)
class Images:
    """Encoded images, and how to decode them."""

    reader: Reader
    identifiers: Sequence[str]
    rules: Rules
    skip_corrupt: bool  # record images that do not decode, instead of an error


@dataclass
class Facts:
    """Facts on images, found while they were decoded."""

    corrupt: dict[int, str] = field(default_factory=dict)  # why images do not decode, by index
    composited: int = 0  # number of images with transparent parts
    # number of images of more than 8 bits a channel, by the bits of their largest value
    depths: Counter[int] = field(default_factory=Counter)

    def add(self, other: "Facts") -> None:
        """Add the facts of other images."""
        self.corrupt.update(other.corrupt)
        self.composited += other.composited
        self.depths.update(other.depths)


def write_entry(
    entry: Path, images: Images, digests: Sequence[bytes], run: Map, *, progress: bool
) -> None:
    """Decode all images into the folder `entry`, which appears complete or not at all.

    A partial folder next to it is renamed at the end, and removed when anything goes wrong; the
    next process removes what a killed one left. Of two processes that write the same entry the
    first to end wins.

    Args:
        entry: the folder to write.
        images: N images.
        digests: of their bytes when the entry was named, N.
        run: a `map` over jobs.
        progress: whether to show a bar on stderr.

    Raises:
        UserError: an image does not decode or changes meanwhile, or the disk lacks room.
    """
    home = entry.parent
    _require_room(home, len(images.identifiers) * images.rules.side**2 * 3)
    partial_entry = unfinished(home)
    partial_entry.mkdir()
    try:
        facts = _decode_all(partial_entry / PIXELS, images, digests, run, progress=progress)
        content = {**vars(facts), "white": images.rules.white}
        (partial_entry / FACTS).write_text(json.dumps(content))
        for name in (PIXELS, FACTS):
            with open(partial_entry / name, "r+b") as file:
                os.fsync(file.fileno())
        try:
            partial_entry.rename(entry)
        except OSError:
            if not entry.is_dir():
                raise
    finally:
        shutil.rmtree(partial_entry, ignore_errors=True)


def corrupt_error(reader: Reader, identifier: str, reason: str) -> UserError:
    """Return the error for an image that does not decode."""
    return UserError(
        f"{location(reader, identifier)} does not decode ({reason}); "
        "repair or remove it, or go on without such files by data.on_corrupt=skip"
    )


def _decode_all(
    pixel_file: Path, images: Images, digests: Sequence[bytes], run: Map, *, progress: bool
) -> Facts:
    count, side = len(images.identifiers), images.rules.side
    shape = (count, side, side, 3)
    offset = np.lib.format.open_memmap(pixel_file, mode="w+", dtype=np.uint8, shape=shape).offset

    def job(first: int) -> tuple[Images, Sequence[bytes], int]:
        part = slice(first, first + CHUNK)
        return replace(images, identifiers=images.identifiers[part]), digests[part], first

    jobs = (job(first) for first in range(0, count, CHUNK))
    parts = run(partial(_decode_chunk, pixel_file, offset), jobs)
    facts = Facts()
    for part in track(parts, "decoding images", total=count, step=CHUNK, enabled=progress):
        facts.add(part)
    return facts


def _decode_chunk(pixel_file: Path, offset: int, job: tuple[Images, Sequence[bytes], int]) -> Facts:
    """Write the pixels of images behind a byte offset."""
    images, digests, first = job  # the index of the first image
    facts = Facts()
    with open(pixel_file, "r+b") as pixels:
        for index, (identifier, digest) in enumerate(
            zip(images.identifiers, digests, strict=True), start=first
        ):
            try:
                decoded = decode(_read(images.reader, identifier, digest), images.rules)
            except DecodeError as error:
                if not images.skip_corrupt:
                    raise corrupt_error(images.reader, identifier, str(error)) from error
                facts.corrupt[index] = str(error)
                continue
            facts.composited += decoded.is_composited
            facts.depths.update(bits_of(decoded.largest))
            pixels.seek(offset + index * decoded.pixels.nbytes)
            pixels.write(decoded.pixels.tobytes())
    return facts


def bits_of(value: int | None) -> list[int]:
    """Return the bits of the largest value in an image; none for 8 bits a channel, or for black."""
    return [value.bit_length()] if value else []


def _read(reader: Reader, identifier: str, digest: bytes) -> bytes:
    """Return an image's bytes, checked against the digest that the entry is named after."""
    try:
        data, reason = reader.read(identifier), None
    except OSError as error:
        data, reason = b"", error.strerror or str(error)
    if content_digest(data) != digest:
        raise UserError(
            f"{location(reader, identifier)} changed while it was being cached; run again"
        )
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


@contextmanager
def worker_map(workers: int) -> Iterator[Map]:
    """Provide a `map` that keeps the order and runs in `workers` new processes; 0: in this one.

    Leaving the block drops the jobs that have not begun. The processes are spawned rather than
    forked, because the parent has threads; so a script needs `if __name__ == "__main__":`.

    Raises:
        UserError: a worker process died.
    """
    if workers == 0:
        yield map
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_end_with_parent)
    try:
        yield pool.map
    except BrokenProcessPool as error:
        raise UserError(
            "a decoding process died, often for lack of memory; set data.workers=0 (no processes), "
            'which also helps a script without `if __name__ == "__main__":`'
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _end_with_parent() -> None:
    """Leave Ctrl-C to the parent, and do not outlive it when it is killed."""

    def await_parent() -> None:
        parent = parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=await_parent, daemon=True).start()
