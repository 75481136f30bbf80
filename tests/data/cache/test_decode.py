import zlib
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image, ImageFile

from ssl_norm.data.cache import decode as decoder
from ssl_norm.data.cache.decode import Decoded, DecodeError, Rules
from tests.data.image_files_on_disk import encoded, noise, png_chunk

RGB = Image.fromarray(noise())
RAMP = (np.arange(64, dtype=np.uint32).reshape(8, 8) * 65535 // 63).astype(np.uint16)
GREY = np.rint(RAMP / 257).astype(np.uint8)[..., None]
SHARE = noise(seed=1)[..., :1] / 255
RGBA = Image.fromarray(np.concatenate([noise(), noise(seed=1)[..., :1]], axis=2))
OVER_WHITE = SHARE * noise() + (1 - SHARE) * 255
CMYK = Image.new("RGB", (8, 8), (200, 40, 90)).convert("CMYK")
EXACT = {"WEBP": {"lossless": True, "exact": True}}


def decode(data: bytes, side: int, **rules) -> np.ndarray:
    return decoded(data, side=side, **rules).pixels


def decoded(data: bytes, side: int = 8, **rules) -> Decoded:
    return decoder.decode(data, Rules(side, **rules))


@pytest.mark.parametrize(
    ("image", "file_format", "expected", "tolerance"),
    [
        *((RGB, name, noise(), 0) for name in ("PNG", "BMP", "TIFF", "WEBP", "PPM")),
        *((RGB.convert(mode), "PNG", RGB.convert(mode).convert("RGB"), 0) for mode in "L1P"),
        *((Image.fromarray(RAMP), name, GREY, 0) for name in ("PNG", "TIFF", "PPM")),
        *((Image.fromarray(RAMP.astype(kind)), "TIFF", GREY, 0) for kind in (">u2", np.int32)),
        *((RGBA, name, OVER_WHITE, 1) for name in ("PNG", "TIFF", "WEBP")),
        *((CMYK, name, (200, 40, 90), 4) for name in ("JPEG", "TIFF")),
    ],
)
def test_every_mode_and_format_becomes_rgb(image, file_format, expected, tolerance):
    found = decode(encoded(image, file_format, **EXACT.get(file_format, {})), 8)
    assert found.shape == (8, 8, 3)
    assert np.abs(found - np.asarray(expected, float)).max() <= tolerance


@pytest.mark.parametrize("pixels", [RAMP.astype(np.int32) * 2, RAMP.astype(np.float32)])
def test_numbers_without_an_agreed_white_are_refused(pixels):
    with pytest.raises(DecodeError, match="have no agreed white; convert the file to 8 or 16 bits"):
        decode(encoded(Image.fromarray(pixels), "TIFF"), 8)


def test_transparent_grey_and_palette_entries_are_white():
    grey = Image.fromarray(np.zeros((8, 8, 2), np.uint8), "LA")
    assert (decode(encoded(grey, "PNG"), 8) == 255).all()
    assert decoded(encoded(grey, "PNG")).is_composited
    opaque = Image.fromarray(noise()).convert("RGBA")
    assert not decoded(encoded(opaque, "PNG")).is_composited
    palette = Image.new("P", (8, 8), 3)
    palette.putpalette([10] * 768)
    assert (decode(encoded(palette, "PNG", transparency=3), 8) == 255).all()
    assert (decode(encoded(palette, "PNG", transparency=4), 8) == 10).all()


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: np.rot90(a, 2)),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.swapaxes(0, 1)),
        (6, np.rot90),
        (7, lambda a: a[::-1, ::-1].swapaxes(0, 1)),
        (8, lambda a: np.rot90(a, -1)),
    ],
)
def test_the_cameras_orientation_is_applied(orientation, turned):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(turned(noise())))
    np.testing.assert_array_equal(decode(encoded(stored, "PNG", exif=exif), 8), noise())


def test_the_centre_square_is_cut_out_without_resampling():
    data = encoded(Image.fromarray(noise(8, 14)), "PNG")
    np.testing.assert_array_equal(decode(data, 8), noise(8, 14)[:, 3:11])


def test_the_shorter_side_becomes_the_wanted_one_with_antialiasing():
    stripes = np.zeros((64, 96, 3), np.uint8)
    stripes[:, ::2] = 255
    found = decode(encoded(Image.fromarray(stripes), "PNG"), 8).astype(int)
    assert found.shape == (8, 8, 3)
    assert np.abs(found[:, 1:-1] - 127.5).max() < 3


def test_a_large_jpeg_is_reduced_faithfully():
    y, x = np.mgrid[0:512, 0:640] / 100
    waves = np.stack([np.sin(x + y), np.cos(x - y), np.sin(2 * x)], axis=2) * 120 + 128
    waves = waves.astype(np.uint8)
    data = encoded(Image.fromarray(waves), "JPEG", quality=95)
    exact = Image.fromarray(waves[:, 64:576]).resize((32, 32), Image.Resampling.BICUBIC)
    assert np.abs(decode(data, 32).astype(int) - np.asarray(exact)).max() <= 4


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_truncated_files_are_refused_whatever_pillows_global_setting(file_format, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = encoded(Image.fromarray(noise(64, 64)), file_format)
    with pytest.raises(DecodeError):
        decode(data[: len(data) // 2], 8)
    assert ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "an empty file"),
        (b"\x89PNG\r\n\x1a\n", "not an image that Pillow can read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript .*not read; convert"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "its content is HEIC, which is not read"),
        (b"<svg/>", "its content is SVG"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- by hand -->\n<svg:svg/>", "content is SVG"),
        (b"<?xml version='1.0'?><!DOCTYPE svg PUBLIC '-//W3C//DTD SVG 1.1//EN' '#'>", "is SVG"),
        (b"<!-- saved -->\n<?xml version='1.0'?>\n<!DOCTYPE html><html/>", "its content is HTML"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied", "its content is XML"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (encoded(Image.new("RGB", (8, 8)), "JPEG2000"), "its content is JPEG 2000"),
    ],
)
def test_what_is_no_image_is_called_what_it_is(data, message):
    with pytest.raises(DecodeError, match=message):
        decode(data, 8)


def test_only_the_listed_formats_are_opened(monkeypatch):
    for name, (_, accept) in list(Image.OPEN.items()):
        if name not in decoder.FORMATS:
            monkeypatch.setitem(Image.OPEN, name, (pytest.fail, accept))
    for name in ("TGA", "ICO", "EPS", "PCX", "SGI"):
        with pytest.raises(DecodeError):
            decode(encoded(Image.new("RGB", (16, 16)), name), 8)


def test_the_limit_of_pixels_holds_for_what_is_decoded():
    wide = Image.fromarray(noise(64, 128))
    for name in ("PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM"):
        data = encoded(wide, name)
        assert decode(data, 8, max_pixels=64 * 128).shape == (8, 8, 3)
        with pytest.raises(DecodeError, match=r"128 x 64 pixels .* data\.max_pixels=8191"):
            decode(data, 8, max_pixels=64 * 128 - 1)
    assert decode(encoded(wide, "JPEG"), 8, max_pixels=32 * 16).shape == (8, 8, 3)
    with pytest.raises(DecodeError, match="128 x 64 pixels"):
        decode(encoded(wide, "JPEG", progressive=True), 8, max_pixels=8191)


def test_pillows_limit_does_not_decide(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    assert decode(encoded(Image.fromarray(noise()), "PNG"), 8).shape == (8, 8, 3)
    assert Image.MAX_IMAGE_PIXELS == 20


BROKEN = b"garbage" * 3
EXIF = b"Exif\0\0" + BROKEN
PNG, JPEG = encoded(RGB, "PNG"), encoded(RGB, "JPEG", quality=100)
CHUNKS = [
    *(png_chunk(name, BROKEN) for name in (b"eXIf", b"iCCP", b"pHYs", b"zTXt", b"iTXt", b"cHRM")),
    *(png_chunk(name, BROKEN, check=1) for name in (b"tEXt", b"eXIf")),
    png_chunk(b"zTXt", b"bomb\0\0" + zlib.compress(bytes(2**23))),
    *(png_chunk(name, b"") for name in (b"gAMA", b"sRGB")),
]
SEGMENTS = [
    (1, EXIF), (1, b""), (2, b"MPF\0" + BROKEN), (2, b"ICC_PROFILE\0"), (13, b"Photoshop 3.0\0"),
    (0, b"JFIF"), (0, b"JFIF\0\1"),
    (2, b"MPF\0II*\0\x08\0\0\0\1\0\2\xb0\4\0\xff\xff\0\0"),
]  # fmt: skip


def with_segment(number: int, content: bytes) -> bytes:
    added = bytes([0xFF, 0xE0 + number]) + (len(content) + 2).to_bytes(2, "big") + content
    return JPEG[:20] + added + JPEG[20:]


@pytest.mark.parametrize(
    ("broken", "plain"),
    [
        *((PNG[:place] + added + PNG[place:], PNG) for added in CHUNKS for place in (33, -12)),
        *((with_segment(*segment), JPEG) for segment in SEGMENTS),
        (encoded(RGB, "JPEG", quality=100, exif=EXIF), JPEG),
        (encoded(RGB, "WEBP", lossless=True, exif=EXIF), PNG),
        (encoded(RGB, "TIFF", tiffinfo={34665: 2**31}), PNG),
    ],
    ids=lambda data: f"{len(data)} bytes",
)
def test_broken_metadata_spare_the_pixels(broken, plain):
    np.testing.assert_array_equal(decode(broken, 8), decode(plain, 8))


@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_white_scales_values_of_more_than_8_bits(file_format, bits):
    white = 2**bits - 1
    grey = np.linspace(0, white, 64).round().astype(np.uint16).reshape(8, 8)
    data = encoded(Image.fromarray(grey), file_format)
    found = decoded(data, white=white)
    np.testing.assert_array_equal(found.pixels[..., 1], np.rint(grey / white * 255))
    assert found.bits == bits
    with pytest.raises(DecodeError, match=rf"up to {white} are above data\.white=200"):
        decode(data, 8, white=200)


def test_of_16_bit_colours_no_white_can_be_applied():
    data = colour_png(np.full((8, 8, 3), 4000, np.uint16))
    found = decoded(data)
    assert found.bits == (257 * (4000 >> 8)).bit_length()
    with pytest.raises(DecodeError, match="only the upper 8 bits of 16-bit colours are read"):
        decode(data, 8, white=4095)


def colour_png(pixels: np.ndarray) -> bytes:
    """Return a PNG with 16-bit colours, which Pillow cannot write."""
    height, width = pixels.shape[:2]
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([16, 2, 0, 0, 0])
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunks = [
        png_chunk(b"IHDR", header),
        png_chunk(b"IDAT", zlib.compress(rows)),
        png_chunk(b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("step", ["ImageOps.exif_transpose", "Image.Image.crop", "Image.open"])
def test_a_lack_of_memory_is_no_broken_file(monkeypatch, step):
    data = encoded(Image.new("I;16", (20, 10)), "PNG")
    monkeypatch.setattr(f"PIL.{step}", Mock(side_effect=MemoryError))
    with pytest.raises(MemoryError):
        decode(data, 8)
