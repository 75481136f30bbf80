"""Atomic writer of a cache entry, with several processes; needs no torch."""

import hashlib
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
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ssl_norm.console import track
from ssl_norm.data.cache.decode import DecodeError, Rules, decode
from ssl_norm.data.cache.reader import Reader, location, read
from ssl_norm.errors import UserError
from ssl_norm.files import unfinished

PIXELS, FACTS = "pixels.npy", "facts.json"
CHUNK = 32  # images per job
Item = TypeVar("Item")
Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]


@dataclass
class Facts:
    """Facts about images that decoding found."""

    white: int  # value of white in images of more than 8 bits
    corrupt: dict[int, str] = field(default_factory=dict)  # reasons of failures, by index of image
    composited: int = 0  # number of images with transparent parts
    # number of images of more than 8 bits a channel, by the bits of their largest value
    depths: Counter[int] = field(default_factory=Counter)


def chunks(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """Split items into jobs."""
    return (items[first : first + CHUNK] for first in range(0, len(items), CHUNK))


def write_entry(
    entry: Path,
    reader: Reader,
    identifiers: Sequence[str],
    digests: Sequence[bytes],
    rules: Rules,
    run: Map,
    *,
    skip_corrupt: bool,
    progress: bool,
) -> None:
    """Decode N images into the folder `entry`, which appears complete or not at all.

    A partial folder next to it is renamed at the end, and removed after an error; the next process
    removes those of killed processes. If two processes write the same entry, the first to finish
    wins.

    `digests` are those of the images' bytes at the time when the entry was named, and `run` is a
    `map` over jobs. With `skip_corrupt`, images that do not decode are recorded.

    Raises:
        UserError: an image does not decode or has changed, or the disk lacks space.
    """
    count, home = len(identifiers), entry.parent
    shape = (count, rules.side, rules.side, 3)
    needed, free = int(np.prod(shape)), shutil.disk_usage(home).free
    if needed > free:
        raise UserError(
            f"the image cache needs {needed / 1e9:.2f} GB in {home}, where {free / 1e9:.2f} GB are "
            "free; choose another folder by data.cache_dir or a lower data.cache_size"
        )
    partial_entry = unfinished(home)
    partial_entry.mkdir()
    try:
        file = partial_entry / PIXELS
        offset = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=shape).offset
        decode_chunk = partial(_decode_chunk, file, offset, reader, rules, skip_corrupt)
        starts = range(0, count, CHUNK)
        jobs = zip(starts, chunks(identifiers), chunks(digests), strict=True)
        parts = run(decode_chunk, jobs)
        facts = Facts(rules.white)
        for part in track(parts, "decoding images", total=count, step=CHUNK, enabled=progress):
            facts.corrupt.update(part.corrupt)
            facts.composited += part.composited
            facts.depths.update(part.depths)
        (partial_entry / FACTS).write_text(json.dumps(vars(facts)))
        for name in (PIXELS, FACTS):
            with open(partial_entry / name, "r+b") as written:
                os.fsync(written.fileno())
        try:
            partial_entry.rename(entry)
        except OSError:
            if not entry.is_dir():
                raise
    finally:
        shutil.rmtree(partial_entry, ignore_errors=True)


def _decode_chunk(
    file: Path,
    offset: int,
    reader: Reader,
    rules: Rules,
    skip_corrupt: bool,
    job: tuple[int, Sequence[str], Sequence[bytes]],
) -> Facts:
    """Decode the images of a job, and write their pixels into the file behind `offset` bytes."""
    first, identifiers, digests = job
    facts = Facts(rules.white)
    with open(file, "r+b") as pixels:
        for index, (identifier, digest) in enumerate(zip(identifiers, digests, strict=True), first):
            data, failure = read(reader, identifier)
            if hashlib.sha256(data).digest() != digest:
                raise UserError(
                    f"{location(reader, identifier)} changed while it was being cached; run again"
                )
            try:
                if failure:
                    raise DecodeError(failure)
                decoded = decode(data, rules)
            except DecodeError as error:
                if not skip_corrupt:
                    raise corrupt_error(reader, identifier, str(error)) from error
                facts.corrupt[index] = str(error)
                continue
            facts.composited += decoded.is_composited
            facts.depths.update(bits_of(decoded.largest))
            pixels.seek(offset + index * decoded.pixels.nbytes)
            pixels.write(decoded.pixels.tobytes())
    return facts


def corrupt_error(reader: Reader, identifier: str, reason: str) -> UserError:
    """Return the error for an image that does not decode."""
    return UserError(
        f"{location(reader, identifier)} does not decode ({reason}); "
        "repair or remove it, or leave out such files by data.on_corrupt=skip"
    )


def bits_of(value: int | None) -> list[int]:
    """Return the number of bits of a largest value, in a list; an empty list for None or black."""
    return [value.bit_length()] if value else []


@contextmanager
def worker_map(workers: int) -> Iterator[Map]:
    """Provide a `map` that keeps the order and runs in `workers` new processes; 0: in this one.

    On exit, jobs that have not started are dropped. The processes are spawned and not forked,
    because the parent has threads; a script therefore needs `if __name__ == "__main__":`.

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
    """Ignore Ctrl-C, which the parent handles, and exit if the parent is killed."""

    def await_parent() -> None:
        parent = parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=await_parent, daemon=True).start()
