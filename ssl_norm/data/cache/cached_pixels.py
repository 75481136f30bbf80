"""Cache of decoded images in a memory-mapped file; needs no torch."""

import hashlib
import json
import os
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ssl_norm.console import track
from ssl_norm.data.cache.decode import FULL_WHITE, MAX_PIXELS, Rules, largest_value
from ssl_norm.data.cache.reader import Reader, content_digests, fingerprint, read
from ssl_norm.data.cache.writer import (
    CHUNK,
    FACTS,
    PIXELS,
    Facts,
    Map,
    bits_of,
    chunks,
    corrupt_error,
    worker_map,
    write_entry,
)
from ssl_norm.errors import UserError
from ssl_norm.files import default_cache_dir, write_text

FORMAT = 2  # raise it when the result of `decode` changes
SAMPLE = 256  # number of images that are decoded to choose white
White = int | Literal["auto"] | None


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
        raise corrupt_error(reader, identifiers[index], reason)
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
        parts = run(partial(content_digests, reader), chunks(identifiers))
        seen = track(parts, "reading files", total=count, step=CHUNK, enabled=progress)
        digests = [digest for part in seen for digest in part]
        if not isinstance(white, int):
            white = _white_of(reader, identifiers, white, max_pixels, run)
        content = hashlib.sha256(b"".join([*digests, str(max_pixels).encode()])).hexdigest()
        entry = home / f"{FORMAT}-{side}px-white{white}-{count}-{content[:32]}"
        if not entry.is_dir():
            rules, options = Rules(side, white, max_pixels), {"skip_corrupt": skip_corrupt}
            write_entry(
                entry, reader, identifiers, digests, rules, run, **options, progress=progress
            )
    return entry


def _white_of(
    reader: Reader, identifiers: Sequence[str], white: str | None, max_pixels: int, run: Map
) -> int:
    """Derive the value of white from a seeded sample; raise UserError if the user must choose."""
    count = len(identifiers)
    sample = sorted(random.Random(0).sample(range(count), min(count, SAMPLE)))
    jobs = chunks([identifiers[index] for index in sample])
    depths = sum(run(partial(_depths, reader, max_pixels), jobs), Counter[int]())
    if white is None:
        _require_bright(depths, share=0.5)
        return FULL_WHITE
    return (1 << max(8, max(depths, default=16))) - 1


def _depths(reader: Reader, max_pixels: int, identifiers: Sequence[str]) -> Counter[int]:
    depths = Counter[int]()
    for identifier in identifiers:
        depths.update(bits_of(largest_value(read(reader, identifier)[0], max_pixels)))
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
