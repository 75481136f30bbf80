"""Decoder of image files to square RGB images; needs no torch, so that processes start fast."""

import io
import re
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

# AVIF needs a Pillow that was built with it. Programs such as Ghostscript are never called.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM", "GIF", "AVIF")
FULL_WHITE = 65535
MAX_PIXELS = 100_000_000
_DEEP_GREY = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_STRIP = 1024  # rows that are composited at a time
_PROLOG = re.compile(rb"(\xef\xbb\xbf)?(\s|<\?.*?\?>|<!--.*?-->)*", re.DOTALL)  # of XML
_OTHER_CONTENT = {  # first bytes after `_PROLOG`, in lower case; the first match counts
    b"%!ps": "PostScript (EPS)",
    b"%pdf": "PDF",
    b"<svg": "SVG",
    b"<!doctype svg": "SVG",
    b"<!doctype html": "HTML",
    b"<html": "HTML",
    b"<": "XML",
    b"\0\0\0\x0cjp  ": "JPEG 2000",
    b"version https://git-lfs": "a Git LFS pointer (run git lfs pull)",
}


class DecodeError(Exception):
    """Error: the bytes cannot be decoded as an image; the message gives the reason."""


class Rules(NamedTuple):
    """Options of decoding."""

    side: int  # side of the square, in pixels
    white: int = FULL_WHITE  # value of white in grey images of more than 8 bits
    max_pixels: int = MAX_PIXELS  # largest number of pixels in memory during decoding


class Decoded(NamedTuple):
    """A decoded image, and facts about its file."""

    pixels: NDArray[np.uint8]  # (side, side, 3)
    bits: int  # bits of the largest value; 0 if the file has 8 bits a channel, or is black
    is_composited: bool  # whether a part was transparent


def decode(data: bytes, rules: Rules) -> Decoded:
    """Return the centre square of an image file.

    In this order: the camera's orientation (EXIF) is applied; grey values of more than 8 bits are
    scaled so that `white` is 255; transparent pixels are composited over white; palette, grey, CMYK
    and other colours become RGB, without a colour profile; the largest centred square is cut out
    and resized with Pillow's antialiased bicubic filter. The shorter side thus becomes `side`
    pixels, and an image of `side` x `side` keeps its exact values. A JPEG of at least 4 x `side` is
    first reduced by its decoder, to no less than 2 x `side`, which is several times faster. Only
    the first of several frames or pages is read. Broken metadata are ignored.

    Raises:
        DecodeError: the file is truncated, broken, too large, or not of `FORMATS`; its numbers are
            floating-point, for which white is not defined, or above `white`.
    """
    try:
        with _strict_and_silent():
            try:
                return _decode(data, rules)
            except (DecodeError, MemoryError):
                raise
            except Exception:  # of any type, on broken metadata
                if (bare := _without_metadata(data)) is None:
                    raise
                return _decode(bare, rules)
    except (DecodeError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise DecodeError(_name_content(data)) from error
    # A decoder may raise anything on broken bytes: OSError, SyntaxError, struct.error, ...
    except Exception as error:
        raise DecodeError(f"{type(error).__name__}: {error}") from error


@contextmanager
def _strict_and_silent() -> Iterator[None]:
    """Refuse truncated files, silence warnings, and disable Pillow's own limit of pixels."""
    lenient, limit = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS
    ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = False, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = lenient, limit


def _decode(data: bytes, rules: Rules) -> Decoded:
    Image.init()
    size = (rules.side, rules.side)
    with Image.open(io.BytesIO(data), formats=[f for f in FORMATS if f in Image.OPEN]) as image:
        width, height = image.size
        image.draft(None, (2 * rules.side, 2 * rules.side))
        if "progressive" not in image.info:  # a progressive image is decoded at its full size
            width, height = image.size
        if width * height > rules.max_pixels:
            raise DecodeError(
                f"{width} x {height} pixels are more than data.max_pixels={rules.max_pixels}"
            )
        is_deep = _is_deep(image)
        image.load()
        _apply_orientation(image)
        (width, height), side = image.size, min(image.size)
        left, top = (width - side) // 2, (height - side) // 2
        square = image.crop((left, top, left + side, top + side)) if width != height else image
        bits = _largest(square).bit_length() if is_deep else 0
        rgb, is_composited = _to_rgb(square, is_deep, rules.white)
        if rgb.size != size:
            rgb = rgb.resize(size, Image.Resampling.BICUBIC)
        return Decoded(np.asarray(rgb), bits, is_composited)


def _apply_orientation(image: Image.Image) -> None:
    """Rotate an image by its EXIF orientation, unless this is broken."""
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except MemoryError:
        raise
    except Exception:  # of any type, on broken metadata
        return


def _to_rgb(image: Image.Image, is_deep: bool, white: int) -> tuple[Image.Image, bool]:
    """Return the image in 8-bit RGB, and whether a part of it was transparent."""
    if image.mode in _DEEP_GREY:
        return Image.fromarray(_eight_bits(np.asarray(image), white)).convert("RGB"), False
    if image.mode == "F":
        raise DecodeError(
            "floating-point pixels have no agreed white; convert the file to 8 or 16 bits"
        )
    if is_deep and white != FULL_WHITE:
        raise DecodeError(
            f"only the upper 8 bits of 16-bit colours are read, so data.white={white} cannot be "
            "applied; convert the file to 8 bits"
        )
    if image.has_transparency_data:
        has_alpha = image.mode in ("LA", "RGBA")
        alpha = (image if has_alpha else image.convert("RGBA")).getchannel("A")
        if alpha.getextrema()[0] != 255:
            return _over_white(image), True
    return image.convert("RGB"), False


def _is_deep(image: Image.Image) -> bool:
    tiles = getattr(image, "tile", ())  # they contain the layout of 16-bit colours
    return image.mode in _DEEP_GREY or any(";16" in str(tile[3]) for tile in tiles)


def _without_metadata(data: bytes) -> bytes | None:
    """Return a PNG or JPEG file without surplus metadata; None for other files."""
    kept, place = [data[:8]], 8
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        while place < len(data):
            end = place + 12 + int.from_bytes(data[place : place + 4], "big")
            kind, check = data[place + 4 : place + 8], zlib.crc32(data[place + 4 : end - 4])
            is_whole = check == int.from_bytes(data[end - 4 : end], "big")
            if kind[:1].isupper() or kind == b"tRNS" or (kind == b"eXIf" and is_whole):
                kept.append(data[place:end])
            place = end
        return b"".join(kept)
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    kept, place = [data[:2]], 2
    while place + 4 <= len(data) and data[place] == 0xFF and 0xC0 <= data[place + 1] != 0xDA:
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        # Of application segments and comments, keep EXIF and Adobe's colours.
        if data[place + 1] in (0xE1, 0xEE) or not 0xE0 <= data[place + 1] <= 0xFE:
            kept.append(data[place:end])
        place = end
    return b"".join((*kept, data[place:]))


def _name_content(data: bytes) -> str:
    """Describe bytes that are not an image of `FORMATS`, by their format if it is recognized."""
    if not data:
        return "an empty file"
    start = _PROLOG.sub(b"", data[:4096], count=1).lower()
    found = next((kind for first, kind in _OTHER_CONTENT.items() if start.startswith(first)), "")
    if data[4:8] == b"ftyp":
        brand = data[8:12].decode("ascii", "replace")
        found = {"avif": "AVIF", "avis": "AVIF"}.get(
            brand, "HEIC" if brand[:1] in "hm" else "video"
        )
    if not found:
        return "not an image that Pillow can read"
    return f"its content is {found}, which is not read; convert it to PNG or JPEG"


def _largest(image: Image.Image) -> int:
    """Return the largest value of 65,535; Pillow keeps the upper 8 bits of 16-bit colours."""
    if image.mode in _DEEP_GREY:
        return int(np.asarray(image).max())
    colours = np.asarray(image)[..., : 1 if image.mode == "LA" else 3]
    return 257 * int(colours.max())


def _over_white(image: Image.Image) -> Image.Image:
    """Composite an image over white, in strips to limit memory."""
    canvas = Image.new("RGB", image.size)
    for top in range(0, image.height, _STRIP):
        box = (0, top, image.width, min(top + _STRIP, image.height))
        strip = image.crop(box).convert("RGBA")
        white = Image.new("RGBA", strip.size, "white")
        canvas.paste(Image.alpha_composite(white, strip).convert("RGB"), box)
    return canvas


def _eight_bits(grey: NDArray[np.integer], white: int) -> NDArray[np.uint8]:
    if grey.min() < 0 or grey.max() > FULL_WHITE:
        raise DecodeError(
            "grey values beyond 16 bits have no agreed white; convert the file to 8 or 16 bits"
        )
    if grey.max() > white:
        raise DecodeError(f"grey values up to {grey.max()} are above data.white={white}")
    return ((grey.astype(np.uint32) * 255 + white // 2) // white).astype(np.uint8)
