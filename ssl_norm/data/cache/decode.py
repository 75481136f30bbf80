"""Decoder of image files to square RGB pixels; needs no torch, so that processes start fast."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

_DEEP_GREY = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_WHITE = (255, 255, 255, 255)


class DecodeError(Exception):
    """The bytes are not an image that can be decoded; the message says why."""


def decode(data: bytes, side: int) -> NDArray[np.uint8]:
    """Return the centre square of an image file, (side, side, 3) uint8.

    In this order: the camera's orientation (EXIF) is applied; 16-bit grey values are divided by
    257, so that 65535 is white; transparency is composited over white; palette, grey, CMYK and
    other colours become RGB without applying a colour profile; the largest centred square is cut
    out and resized with Pillow's antialiased bicubic filter. So the shorter side becomes `side`
    pixels, and an image of `side` x `side` keeps its exact values. A JPEG of at least 4 x `side` is
    first reduced in its frequencies, to no less than 2 x `side`, which is several times faster. Of
    several frames or pages the first is taken.

    Raises:
        DecodeError: the file is truncated, broken or no image, or its numbers have no agreed white
            (floating point or more than 16 bits).
    """
    try:
        with _strict_and_silent(), Image.open(io.BytesIO(data)) as image:
            return np.asarray(_centre_square(_load_rgb(image, side), side))
    except DecodeError:
        raise
    except UnidentifiedImageError as error:
        raise DecodeError("not an image that Pillow can read") from error
    # A decoder may raise anything on broken bytes: OSError, SyntaxError, struct.error, ...
    except Exception as error:
        raise DecodeError(f"{type(error).__name__}: {error}") from error


@contextmanager
def _strict_and_silent() -> Iterator[None]:
    """Refuse truncated files; silence warnings of size and metadata, which spare the pixels."""
    lenient = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = lenient


def _load_rgb(image: ImageFile.ImageFile, side: int) -> Image.Image:
    image.draft(None, (2 * side, 2 * side))
    upright: Image.Image = image
    ImageOps.exif_transpose(upright, in_place=True)
    if upright.mode in _DEEP_GREY:
        return Image.fromarray(_eight_bits(np.asarray(upright))).convert("RGB")
    if upright.mode == "F":
        raise DecodeError(
            "floating-point pixels have no agreed white; convert the file to 8 or 16 bits"
        )
    if upright.has_transparency_data:
        white = Image.new("RGBA", upright.size, _WHITE)
        return Image.alpha_composite(white, upright.convert("RGBA")).convert("RGB")
    return upright if upright.mode == "RGB" else upright.convert("RGB")


def _eight_bits(grey: NDArray[np.integer]) -> NDArray[np.uint8]:
    if grey.min() < 0 or grey.max() > 65535:
        raise DecodeError(
            "grey values beyond 16 bits have no agreed white; convert the file to 8 or 16 bits"
        )
    return ((grey.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _centre_square(image: Image.Image, side: int) -> Image.Image:
    width, height = image.size
    shorter = min(width, height)
    if width != height:
        left, top = (width - shorter) // 2, (height - shorter) // 2
        image = image.crop((left, top, left + shorter, top + shorter))
    return image if shorter == side else image.resize((side, side), Image.Resampling.BICUBIC)
