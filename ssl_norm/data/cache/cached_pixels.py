"""Decoded images in a memory-mapped file, made once; needs no torch."""

import hashlib
import json
import os
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ssl_norm.console import track
from ssl_norm.data.cache.decode import FULL_WHITE, MAX_PIXELS, Rules, largest_value
from ssl_norm.data.cache.reader import Reader, content_digests, fingerprint
from ssl_norm.data.cache.writer import (
    CHUNK,
    FACTS,
    PIXELS,
    Facts,
    Images,
    Map,
    bits_of,
    corrupt_error,
    worker_map,
    write_entry,
)
from ssl_norm.errors import UserError
from ssl_norm.files import write_text

FORMAT = 2  # raise it when `decode` computes other pixels
SAMPLE = 256  # images that are decoded to choose white
White = int | Literal["auto"] | None


@dataclass(frozen=True)
class CachedPixels:
    """Decoded images."""

    pixels: NDArray[np.uint8]  # (N, side, side, 3), mapped read-only; zeros for corrupt images
    facts: Facts
    white: int  # value of white in images of more than 8 bits
    entry: Path  # the folder that holds the pixels


def default_cache_dir() -> Path:
    """Return `$XDG_CACHE_HOME/ssl_norm`, or `~/.cache/ssl_norm`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "ssl_norm"


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

    An entry is named after the images' bytes and the way they are decoded: any changed byte makes
    another entry, and a folder that was moved or copied finds its entry again. Reading all bytes
    takes a second for 60,000 thumbnails but minutes for many photographs. So the cache also
    remembers which entry a `fingerprint` led to; while it holds, no image is read.

    Args:
        reader: of the images.
        identifiers: of the images, in the order of the pixels.
        side: of a decoded image, in pixels.
        white: value of white in grey images of more than 8 bits. `auto`: 2^b - 1 for the b >= 8
            bits of the largest value in a seeded sample of 256 images. None: 65,535, but an error
            where most of these images fill less than a quarter of it.
        max_pixels: of an image while it is decoded; a larger one does not decode.
        cache_dir: None: `default_cache_dir()`.
        on_corrupt: `stop` or `skip`, for an image that does not decode.
        workers: processes that read and decode; 0: this one.
        progress: whether to show a bar on stderr.

    Raises:
        UserError: an image does not decode while `on_corrupt=stop`, `white` is needed, or the cache
            is not usable.
    """
    home = Path(os.path.expanduser(cache_dir or default_cache_dir())).absolute()
    images = Images(reader, identifiers, Rules(side, 0, max_pixels), on_corrupt == "skip")
    try:
        cached = _open_entry(_find_or_write(home, images, white, workers, progress))
    except OSError as error:
        raise UserError(
            f"cannot use the image cache in {home}: {error.strerror or error}; "
            "choose another folder by data.cache_dir"
        ) from error
    if on_corrupt == "stop" and cached.facts.corrupt:
        index, reason = min(cached.facts.corrupt.items())
        raise corrupt_error(reader, identifiers[index], reason)
    if not isinstance(white, int) and cached.white == FULL_WHITE:
        _require_bright(cached.facts.depths, share=0.5 if white is None else 1)
    return cached


def _find_or_write(home: Path, images: Images, white: White, workers: int, progress: bool) -> Path:
    (home / "known").mkdir(parents=True, exist_ok=True)
    identifiers, (side, _, max_pixels) = images.identifiers, images.rules
    stamp = fingerprint(images.reader, identifiers)
    known = home / "known" / f"{FORMAT}-{side}px-{white}-{max_pixels}-{stamp.digest}"
    if known.exists() and (home / known.read_text() / FACTS).exists():
        return home / known.read_text()
    count = len(identifiers)
    with worker_map(workers if count > CHUNK else 0) as run:
        chunks = (identifiers[first : first + CHUNK] for first in range(0, count, CHUNK))
        parts = run(partial(content_digests, images.reader), chunks)
        read = track(parts, "reading files", total=count, step=CHUNK, enabled=progress)
        digests = [digest for part in read for digest in part]
        rules = Rules(
            side, white if isinstance(white, int) else _white_of(images, white, run), max_pixels
        )
        content = hashlib.sha256(b"".join([*digests, str(max_pixels).encode()])).hexdigest()
        entry = home / f"{FORMAT}-{side}px-white{rules.white}-{count}-{content[:32]}"
        if not entry.is_dir():
            write_entry(entry, replace(images, rules=rules), digests, run, progress=progress)
    if stamp.settled:
        write_text(known, entry.name)
    return entry


def _white_of(images: Images, white: Literal["auto"] | None, run: Map) -> int:
    """Return the value of white by a seeded sample; UserError if the user must choose it."""
    count = len(images.identifiers)
    sample = sorted(random.Random(0).sample(range(count), min(count, SAMPLE)))
    chosen = [images.identifiers[index] for index in sample]
    jobs = (chosen[first : first + CHUNK] for first in range(0, len(chosen), CHUNK))
    depths = sum(run(partial(_depths, images), jobs), Counter[int]())
    if white is None:
        _require_bright(depths, share=0.5)
        return FULL_WHITE
    return (1 << max(8, max(depths, default=16))) - 1


def _depths(images: Images, identifiers: Sequence[str]) -> Counter[int]:
    depths = Counter[int]()
    for identifier in identifiers:
        with suppress(OSError):
            value = largest_value(images.reader.read(identifier), images.rules.max_pixels)
            depths.update(bits_of(value))
    return depths


def _require_bright(depths: Counter[int], share: float) -> None:
    """Raise UserError if this share of the images of more than 8 bits fills less than 15 bits."""
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
        corrupt = {int(index): reason for index, reason in content["corrupt"].items()}
        depths = Counter({int(bits): number for bits, number in content["depths"].items()})
        facts = Facts(corrupt, content["composited"], depths)
        return CachedPixels(pixels, facts, content["white"], entry)
    except (ValueError, EOFError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"the image cache {entry} is damaged; delete that folder") from error
