"""Cache of decoded images in a memory-mapped file; needs no torch."""

import hashlib
import json
import os
import random
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
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from ssl_norm.console import track
from ssl_norm.data.cache.decode import (
    FULL_WHITE,
    MAX_PIXELS,
    DecodeError,
    Rules,
    decode,
    largest_value,
)
from ssl_norm.data.cache.reader import Reader, content_digests, fingerprint, location, read
from ssl_norm.errors import UserError
from ssl_norm.files import default_cache_dir, unfinished, write_text

FORMAT = 2  # raise it when the result of `decode` changes
PIXELS, FACTS = "pixels.npy", "facts.json"
SAMPLE = 256  # number of images that are decoded to choose white
CHUNK = 32  # images per job
White = int | Literal["auto"] | None
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


@dataclass(frozen=True)
class CachedPixels:
    """Decoded images."""

    pixels: NDArray[np.uint8]  # (N, side, side, 3), mapped read-only; zeros for corrupt images
    facts: Facts
    entry: Path  # the folder that holds the pixels


def cached_pixels(
    reader: Reader,
    identifiers: Sequence[str],
    *,
    side: int,
    white: White = None,
    max_pixels: int = MAX_PIXELS,
    cache_dir: str | None = None,
    on_corrupt: str = "stop",
    workers: int = 2,
    progress: bool = False,
) -> CachedPixels:
    """Return decoded images, from the cache if it has them.

    The name of an entry depends on the bytes of the images and on the options of decoding: any
    changed byte leads to another entry, and a moved or copied folder finds its entry again. To read
    all bytes takes a second for 60,000 thumbnails but minutes for many photographs. The cache
    therefore also stores the entry of each `fingerprint`; while this is unchanged, no image is
    read.

    Options are those of the source `folder`. With `white=auto`, white is 2^b - 1, with b >= 8 the
    number of bits of the largest value in a seeded sample of 256 images. With None it is 65,535,
    and an error is raised if most of these images use less than a quarter of this range. Pixels are
    in the order of `identifiers`.

    Raises:
        UserError: an image does not decode while `on_corrupt=stop`, `white` is needed, or the cache
            is not usable.
    """
    home = Path(os.path.expanduser(cache_dir or default_cache_dir())).absolute()
    try:
        (home / "known").mkdir(parents=True, exist_ok=True)
        digest, is_settled = fingerprint(reader, identifiers)
        known = home / "known" / f"{FORMAT}-{side}px-{white}-{max_pixels}-{digest}"
        if known.exists() and (home / known.read_text() / FACTS).exists():
            entry = home / known.read_text()
        else:
            rules, is_lenient = (side, white, max_pixels), on_corrupt == "skip"
            entry = _write(home, reader, identifiers, rules, is_lenient, workers, progress)
            if is_settled:
                write_text(known, entry.name)
        cached = _open_entry(entry)
    except OSError as error:
        raise UserError(
            f"cannot use the image cache in {home}: {error.strerror or error}; "
            "choose another folder by data.cache_dir"
        ) from error
    if on_corrupt == "stop" and cached.facts.corrupt:
        index, reason = min(cached.facts.corrupt.items())
        raise _corrupt_error(reader, identifiers[index], reason)
    if not isinstance(white, int) and cached.facts.white == FULL_WHITE:
        _require_bright(cached.facts.depths, share=0.5 if white is None else 1)
    return cached


def _write(
    home: Path,
    reader: Reader,
    identifiers: Sequence[str],
    wanted: tuple[int, White, int],  # side, white and max_pixels
    skip_corrupt: bool,
    workers: int,
    progress: bool,
) -> Path:
    """Return the folder of an entry; write it unless the cache has it."""
    (side, white, max_pixels), count = wanted, len(identifiers)
    with worker_map(workers if count > CHUNK else 0) as run:
        parts = run(partial(content_digests, reader), _chunks(identifiers))
        seen = track(parts, "reading files", total=count, step=CHUNK, enabled=progress)
        digests = [digest for part in seen for digest in part]
        if not isinstance(white, int):
            white = _white_of(reader, identifiers, white, max_pixels, run)
        content = hashlib.sha256(b"".join([*digests, str(max_pixels).encode()])).hexdigest()
        entry = home / f"{FORMAT}-{side}px-white{white}-{count}-{content[:32]}"
        if not entry.is_dir():
            rules = Rules(side, white, max_pixels)
            _write_entry(entry, reader, identifiers, digests, rules, run, skip_corrupt, progress)
    return entry


def _white_of(
    reader: Reader, identifiers: Sequence[str], white: str | None, max_pixels: int, run: Map
) -> int:
    """Derive the value of white from a seeded sample; raise UserError if the user must choose."""
    count = len(identifiers)
    sample = sorted(random.Random(0).sample(range(count), min(count, SAMPLE)))
    jobs = _chunks([identifiers[index] for index in sample])
    depths = sum(run(partial(_depths, reader, max_pixels), jobs), Counter[int]())
    if white is None:
        _require_bright(depths, share=0.5)
        return FULL_WHITE
    return (1 << max(8, max(depths, default=16))) - 1


def _depths(reader: Reader, max_pixels: int, identifiers: Sequence[str]) -> Counter[int]:
    depths = Counter[int]()
    for identifier in identifiers:
        depths.update(_bits_of(largest_value(read(reader, identifier)[0], max_pixels)))
    return depths


def _require_bright(depths: Counter[int], share: float) -> None:
    """Raise UserError if at least `share` of the images of more than 8 bits use less than 15."""
    dim = {bits: number for bits, number in depths.items() if bits < 15}
    if 0 < sum(dim.values()) >= share * sum(depths.values()):
        largest = 2 ** max(dim) - 1
        raise UserError(
            f"{sum(dim.values())} of {sum(depths.values())} images of more than 8 bits hold values "
            f"up to {largest} of 65535, which would leave {largest // 257 + 1} grey levels; set "
            f"data.white={largest}, auto, or 65535 to keep them as they are"
        )


def _open_entry(entry: Path) -> CachedPixels:
    try:
        pixels = np.load(entry / PIXELS, mmap_mode="r", allow_pickle=False)
        content = json.loads((entry / FACTS).read_text())
        content["corrupt"] = {int(index): why for index, why in content["corrupt"].items()}
        content["depths"] = Counter({int(bits): n for bits, n in content["depths"].items()})
        return CachedPixels(pixels, Facts(**content), entry)
    except (ValueError, EOFError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"the image cache {entry} is damaged; delete that folder") from error


def _chunks(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """Split items into jobs."""
    return (items[first : first + CHUNK] for first in range(0, len(items), CHUNK))


def _write_entry(
    entry: Path,
    reader: Reader,
    identifiers: Sequence[str],
    digests: Sequence[bytes],
    rules: Rules,
    run: Map,
    skip_corrupt: bool,
    progress: bool,
) -> None:
    """Decode images into the folder `entry`, which appears complete or not at all.

    A partial folder next to it is renamed at the end, and removed after an error; the next process
    removes those of killed processes. If two processes write the same entry, the first to finish
    wins. `digests` are those of the images' bytes when the entry was named.
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
        jobs = zip(starts, _chunks(identifiers), _chunks(digests), strict=True)
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
                    raise _corrupt_error(reader, identifier, str(error)) from error
                facts.corrupt[index] = str(error)
                continue
            facts.composited += decoded.is_composited
            facts.depths.update(_bits_of(decoded.largest))
            pixels.seek(offset + index * decoded.pixels.nbytes)
            pixels.write(decoded.pixels.tobytes())
    return facts


def _corrupt_error(reader: Reader, identifier: str, reason: str) -> UserError:
    """Return the error for an image that does not decode."""
    return UserError(
        f"{location(reader, identifier)} does not decode ({reason}); "
        "repair or remove it, or leave out such files by data.on_corrupt=skip"
    )


def _bits_of(value: int | None) -> list[int]:
    """Return the number of bits of a largest value, in a list; an empty list for None or black."""
    return [value.bit_length()] if value else []


@contextmanager
def worker_map(workers: int) -> Iterator[Map]:
    """Provide a `map` that keeps the order and runs in `workers` new processes; 0: in this one.

    On exit, jobs that have not started are dropped. The processes are spawned and not forked,
    because the parent has threads. Raise UserError if one died.
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
