"""A folder with hostile files is decoded within limits: others to the bit, hostile ones named.

Limits are a minute of CPU time, little memory, and one line for each file.
"""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tests import warm
from tests.campaigns.campaign import Broken, Chance
from tests.data.image_files_on_disk import encoded, noise, png_chunk

TRIALS, SAMPLE = 200, 1
MEMORY = 200  # MB, to decode images of at most 4 million pixels
CHILD = """
import json, resource, sys
from pathlib import Path
from ssl_norm.data.cache.cached_pixels import cached_pixels
from ssl_norm.data.cache.reader import FolderReader
from ssl_norm.data.sources.folder import find_images
from ssl_norm.data.sources.folder_labels import read_layout
from ssl_norm.errors import UserError
root, cache, stop = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30,) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (60, 65))
used = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = used()
paths = read_layout(find_images(Path(root)).paths, "flat").paths
options = {"side": 8, "max_pixels": 4_000_000, "cache_dir": cache, "workers": 0}
try:
    cached = cached_pixels(FolderReader(root), paths, on_corrupt=stop, **options)
except UserError as error:
    print(json.dumps({"error": str(error)}))
else:
    rows = dict(zip(paths, map(int, cached.pixels.astype(int).sum((1, 2, 3)))))
    bad = {paths[index]: reason for index, reason in cached.facts.corrupt.items()}
    print(json.dumps({"rows": rows, "bad": bad, "memory": used() - before}))
"""
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM", "GIF", "AVIF")
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I", "I;16")
TEXTS = (
    b"%!PS-Adobe-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", b"<html>404</html>", b"", b"GIF89a",
    b"\0\0\0\x18ftypheic\0\0\0\0mif1", b"BM", b"II*\0", b"P6 9999999 9999999 255\n", b"RIFF\xff\xff\xff\xffWEBPVP8 ",
    b"P6 9 9 99999999\n", b"\xff\xd8\xff\xe0", b"version https://git-lfs.github.com/spec/v1\n", b"{}" * 999,
)  # fmt: skip


def picture(chance: random.Random, side: int = 48) -> Image.Image:
    """Return an image of noise."""
    return Image.fromarray(noise(side, side, chance.randrange(10**6)))


def some_file(
    chance: random.Random, formats: tuple[str, ...] = FORMATS, **options: object
) -> bytes:
    return encoded(picture(chance), chance.choice(formats), **options)


def truncated(chance: random.Random) -> bytes:
    data = some_file(chance)
    return data[: chance.randrange(len(data) * 9 // 10)]


def flipped(chance: random.Random) -> bytes:
    """Return a file with some changed bits."""
    data = bytearray(some_file(chance))
    reach = chance.choice((64, 512, len(data)))
    for _ in range(chance.choice((1, 1, 3, 30))):
        data[chance.randrange(min(reach, len(data)))] ^= 1 << chance.randrange(8)
    return bytes(data)


def bomb(chance: random.Random) -> bytes:
    """Return a small file of a huge picture."""
    side, kind = chance.choice((2100, 13_300, 60_000)), chance.choice(("PNG", "JPEG", "GIF", "BMP"))
    if kind == "PNG":
        sides = side.to_bytes(4, "big") * 2
        data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", sides + b"\x08\x06\0\0\0")
        return data + png_chunk(b"IDAT", zlib.compress(bytes(2**20))) + png_chunk(b"IEND", b"")
    if kind == "GIF":
        sides = side.to_bytes(2, "little") * 2
        data = b"GIF89a" + sides + b"\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0"
        return data + sides + b"\0\x02\x02L\x01\0;"
    if kind == "BMP":
        data = encoded(picture(chance), "BMP")
        return data[:18] + side.to_bytes(4, "little") * 2 + data[26:]
    data = encoded(picture(chance), "JPEG", progressive=True)
    place = data.index(b"\xff\xc2") + 5
    return data[:place] + side.to_bytes(2, "big") * 2 + data[place + 4 :]


def mode(chance: random.Random) -> bytes:
    """Return a file of some mode, in a format that has it."""
    image, name = picture(chance), chance.choice(MODES)
    if name in ("I", "I;16"):
        wide = np.asarray(image.convert("L"), np.uint16) * 257
        image = Image.fromarray(wide if name == "I;16" else wide.astype(np.int32))
    else:
        image = image.convert(name)
    for file_format in chance.sample(FORMATS, len(FORMATS)):
        with contextlib.suppress(OSError, KeyError, ValueError):
            return encoded(image, file_format)
    raise AssertionError(name)


def frames(chance: random.Random) -> bytes:
    """Return a file of several frames."""
    more = {"save_all": True, "append_images": [picture(chance) for _ in range(3)]}
    return some_file(chance, ("GIF", "TIFF", "WEBP", "PNG"), **more)


def metadata(chance: random.Random) -> bytes:
    """Return an intact file with random metadata."""
    junk = chance.randbytes(chance.choice((0, 1, 9, 300)))
    if chance.random() < 0.5:
        extra = {chance.choice(("exif", "icc_profile")): b"Exif\0\0" + junk}
        return some_file(chance, ("PNG", "JPEG", "WEBP"), **extra)
    data, kind = (
        encoded(picture(chance), "PNG"),
        chance.choice((b"eXIf", b"iCCP", b"zTXt", b"tEXt")),
    )
    added, place = png_chunk(kind, junk), chance.choice((33, len(data) - 12))
    added = added[:-1] + bytes([added[-1] ^ chance.choice((0, 1))])
    return data[:place] + added + data[place:]


def text(chance: random.Random) -> bytes:
    return chance.choice((*TEXTS, chance.randbytes(999)))


def named(chance: random.Random) -> bytes:
    """Return an intact file, whose name may have the suffix of another format."""
    return some_file(chance, ("PNG", "BMP", "GIF", "TIFF", "PPM"))


def special(chance: random.Random, path: Path) -> None:
    """Make a pipe, socket, link or file of absurd size."""
    kind = chance.choice(("pipe", "socket", "sparse", "/dev/zero", "/dev/null", "/dev/tty", "gone"))
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        # the name of a socket is short
        with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    elif kind == "sparse":
        path.touch()
        os.truncate(path, 2**36)
    else:
        path.symlink_to(kind)


def tree(chance: random.Random, path: Path) -> None:
    """Make a deep folder, or one of links, around an intact file."""
    path.mkdir()
    inner = path
    if chance.random() < 0.5:
        for _ in range(chance.choice((5, 60, 300))):
            inner = inner / "d"
        inner.mkdir(parents=True)
    else:
        for name in ("up", "here"):
            (path / name).symlink_to(chance.choice((path, path.parent)))
    (inner / "1.png").write_bytes(encoded(picture(chance), "PNG"))


# Makers of contents or of an entry at a path, and whether it must be read; None: it may be.
CONTENTS = {
    truncated: False, flipped: None, bomb: False, mode: True, frames: True, metadata: True,
    text: False, named: True,
}  # fmt: skip
ENTRIES = {special: False, tree: True}
SUFFIXES = (".png", ".jpg", ".JPEG", ".tif", ".webp", ".gif", ".bmp", ".ppm", ".avif")


def make(kind: Callable[..., bytes | None], chance: random.Random, path: Path) -> None:
    if kind in ENTRIES:
        kind(chance, path)
    else:
        path.write_bytes(kind(chance))


def trial(chance: Chance, folder: Path) -> None:
    """Decode three intact images and up to six hostile entries of a folder."""
    root = folder / "root"
    root.mkdir()
    good = {}
    for index in range(3):
        pixels = noise(8, 8, chance.randrange(10**6))
        Image.fromarray(pixels).save(root / f"good{index}.png")
        good[f"good{index}.png"] = int(pixels.astype(int).sum())
    made: dict[str, tuple[str, bool | None]] = {}
    for index in range(chance.randint(1, 6)):
        kind = chance.choice((*CONTENTS, *ENTRIES, flipped, flipped))
        name = f"x{index}{chance.choice(SUFFIXES)}"
        made[name] = kind.__name__, (CONTENTS | ENTRIES)[kind]
        make(kind, chance, root / name)
    chance.what = str(made)
    found = child(root, folder, "skip")
    if {name: found["rows"].get(name) for name in good} != good or set(good) & set(found["bad"]):
        raise Broken("lost", f"intact files: {found}")
    for name, (kind, is_intact) in made.items():
        bad = [reason for path, reason in found["bad"].items() if path.split("/")[0] == name]
        if is_intact and bad:
            raise Broken("lost", f"{kind} {name}: {bad}")
        if is_intact is False and not bad:
            raise Broken("silent", f"{kind} {name} was read")
    if any(not reason.strip() or "\n" in reason for reason in found["bad"].values()):
        raise Broken("silent", f"reasons: {found['bad']}")
    if found["memory"] > MEMORY:
        raise Broken("lost", f"{found['memory']:.0f} MB")
    stopped = child(root, folder, "stop").get("error", "")
    if bool(found["bad"]) != bool(stopped) or "\n" in stopped:
        raise Broken("silent", f"{stopped!r} for {found['bad']}")


def child(root: Path, folder: Path, stop: str) -> dict[str, object]:
    """Return the facts of a process that decodes the folder."""
    process = warm.Process(["-c", CHILD, root, folder / "cache", stop])
    try:
        out, said = process.communicate(timeout=600)
    except subprocess.TimeoutExpired:
        raise Broken("lost", "no end within ten minutes") from None
    if process.returncode == -signal.SIGXCPU:
        raise Broken("lost", "no end within a minute of CPU time")
    if process.returncode or "Traceback" in said:
        raise Broken("traceback", f"exit {process.returncode}: {said[-2000:]}")
    return json.loads(out)
