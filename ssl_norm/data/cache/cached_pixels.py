"""Cache of decoded images in a memory-mapped file; needs no torch."""

import hashlib
import json
import os
import random
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ssl_norm.console import track
from ssl_norm.data.cache.decode import FULL_WHITE, MAX_PIXELS, DecodeError, Rules, decode
from ssl_norm.data.cache.reader import Reader, content_digest, fingerprint, location, read
from ssl_norm.errors import UserError
from ssl_norm.files import default_cache_dir, unfinished, write_text

FORMAT = 2  # raise it when the result of `decode` changes
PIXELS, FACTS = "pixels.npy", "facts.json"
SAMPLE = 256  # number of images that are decoded to choose white
CHUNK = 32  # images that a process gets at a time
White = int | Literal["auto"] | None
Map = Callable[..., Iterator[Any]]  # with the arguments of `map`


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
            with worker_map(workers if len(identifiers) > CHUNK else 0) as run:
                writer = _Writer(home, reader, identifiers, on_corrupt == "skip", run, progress)
                entry = writer.entry(side, white, max_pixels)
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


def _open_entry(entry: Path) -> CachedPixels:
    try:
        pixels = np.load(entry / PIXELS, mmap_mode="r", allow_pickle=False)
        content = json.loads((entry / FACTS).read_text())
        content["corrupt"] = {int(index): why for index, why in content["corrupt"].items()}
        content["depths"] = Counter({int(bits): n for bits, n in content["depths"].items()})
        return CachedPixels(pixels, Facts(**content), entry)
    except (ValueError, EOFError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"the image cache {entry} is damaged; delete that folder") from error


@dataclass(frozen=True)
class _Writer:
    """Writer of the entries of some images in the cache folder `home`."""

    home: Path
    reader: Reader
    identifiers: Sequence[str]
    skip_corrupt: bool
    run: Map
    progress: bool

    def entry(self, side: int, white: White, max_pixels: int) -> Path:
        """Return the folder of an entry; write it unless the cache has it."""
        digests = list(
            self._each("reading files", partial(content_digest, self.reader), self.identifiers)
        )
        if not isinstance(white, int):
            white = self._white(white, max_pixels)
        content = hashlib.sha256(b"".join([*digests, str(max_pixels).encode()])).hexdigest()
        name = f"{FORMAT}-{side}px-white{white}-{len(digests)}-{content[:32]}"
        if not (self.home / name).is_dir():
            self._write(self.home / name, digests, Rules(side, white, max_pixels))
        return self.home / name

    def _each(self, description: str, work: Callable[..., Any], *items: Any) -> Iterator[Any]:
        total = len(self.identifiers)
        done = self.run(work, *items)
        return track(done, description, total=total, step=1, enabled=self.progress)

    def _white(self, white: str | None, max_pixels: int) -> int:
        """Derive the value of white from a seeded sample; UserError if the user must choose."""
        count = len(self.identifiers)
        sample = sorted(random.Random(0).sample(range(count), min(count, SAMPLE)))
        chosen = [self.identifiers[index] for index in sample]
        rules = Rules(side=1, max_pixels=max_pixels)
        found = self.run(partial(_bits_of, self.reader, rules), chosen)
        depths = Counter(bits for bits in found if bits)
        if white is None:
            _require_bright(depths, share=0.5)
            return FULL_WHITE
        return (1 << max(8, max(depths, default=16))) - 1

    def _write(self, entry: Path, digests: Sequence[bytes], rules: Rules) -> None:
        """Decode the images into the folder `entry`, which appears complete or not at all.

        A partial folder next to it is renamed at the end, and removed after an error; the next
        process removes those of killed processes. If two processes write the same entry, the first
        to finish wins. `digests` are those of the images' bytes when the entry was named.
        """
        shape = (len(digests), rules.side, rules.side, 3)
        needed, free = int(np.prod(shape)), shutil.disk_usage(self.home).free
        if needed > free:
            raise UserError(
                f"the image cache needs {needed / 1e9:.2f} GB in {self.home}, where "
                f"{free / 1e9:.2f} GB are free; choose another folder by data.cache_dir or a lower "
                "data.cache_size"
            )
        partial_entry = unfinished(self.home)
        partial_entry.mkdir()
        try:
            file = partial_entry / PIXELS
            offset = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=shape).offset
            places = range(offset, offset + needed, rules.side**2 * 3)
            work = partial(_decode_into, file, self.reader, rules)
            decoded = self._each("decoding images", work, places, self.identifiers, digests)
            facts = Facts(rules.white)
            for index, (failure, bits, is_composited) in enumerate(decoded):
                if failure and not self.skip_corrupt:
                    raise _corrupt_error(self.reader, self.identifiers[index], failure)
                facts.corrupt |= {index: failure} if failure else {}
                facts.composited += is_composited
                facts.depths.update([bits] if bits else [])
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


def _decode_into(
    file: Path, reader: Reader, rules: Rules, place: int, identifier: str, digest: bytes
) -> tuple[str, int, bool]:
    """Write the pixels of an image into a file, `place` bytes from its start.

    Return the reason of a failure or "", and the other fields of `Decoded`.
    """
    data, failure = read(reader, identifier)
    if hashlib.sha256(data).digest() != digest:
        raise UserError(
            f"{location(reader, identifier)} changed while it was being cached; run again"
        )
    if failure:
        return failure, 0, False
    try:
        decoded = decode(data, rules)
    except DecodeError as error:
        return str(error), 0, False
    with open(file, "r+b") as pixels:
        pixels.seek(place)
        pixels.write(decoded.pixels.tobytes())
    return "", decoded.bits, decoded.is_composited


def _bits_of(reader: Reader, rules: Rules, identifier: str) -> int:
    """Return the bits of the largest value of an image; 0 if it has 8 bits or does not decode."""
    try:
        return decode(read(reader, identifier)[0], rules).bits
    except DecodeError:
        return 0


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


def _corrupt_error(reader: Reader, identifier: str, reason: str) -> UserError:
    return UserError(
        f"{location(reader, identifier)} does not decode ({reason}); "
        "repair or remove it, or leave out such files by data.on_corrupt=skip"
    )


@contextmanager
def worker_map(workers: int) -> Iterator[Map]:
    """Provide a `map` that keeps the order and runs in `workers` new processes; 0: in this one.

    A process gets `CHUNK` items at a time. On exit, jobs that have not started are dropped. The
    processes are spawned and not forked, because the parent has threads. Raise UserError if one
    died.
    """
    if workers == 0:
        yield map
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_end_with_parent)
    try:
        yield partial(pool.map, chunksize=CHUNK)
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
