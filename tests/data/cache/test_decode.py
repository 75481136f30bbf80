import io

import numpy as np
import pytest
from PIL import Image, ImageFile

from ssl_norm.data.cache.decode import DecodeError, decode
from tests.data.image_files_on_disk import noise

RAMP = (np.arange(64, dtype=np.uint32).reshape(8, 8) * 65535 // 63).astype(np.uint16)
RAMP_AS_BYTES = np.rint(RAMP / 257).astype(np.uint8)


def encoded(image: Image.Image, file_format: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("file_format", "options"),
    [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("WEBP", {"lossless": True}), ("PPM", {})],
)
def test_pixels_of_the_wanted_size_are_kept_exactly(file_format, options):
    data = encoded(Image.fromarray(noise()), file_format, **options)
    np.testing.assert_array_equal(decode(data, 8), noise())


def test_jpeg_equals_pillows_own_decoding():
    data = encoded(Image.fromarray(noise(32, 32)), "JPEG")
    np.testing.assert_array_equal(decode(data, 32), np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("mode", ["L", "1", "P"])
def test_grey_bilevel_and_palette_become_rgb(mode):
    image = Image.fromarray(noise()).convert(mode)
    np.testing.assert_array_equal(decode(encoded(image, "PNG"), 8), image.convert("RGB"))


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_is_scaled_by_its_full_range(file_format):
    decoded = decode(encoded(Image.fromarray(RAMP), file_format), 8)
    np.testing.assert_array_equal(decoded, np.repeat(RAMP_AS_BYTES[..., None], 3, axis=2))


def test_big_endian_and_32_bit_tiffs_within_16_bits_are_scaled_alike():
    for pixels in (RAMP.astype(">u2"), RAMP.astype(np.int32)):
        decoded = decode(encoded(Image.fromarray(pixels), "TIFF"), 8)
        np.testing.assert_array_equal(decoded[..., 0], RAMP_AS_BYTES)


@pytest.mark.parametrize("pixels", [RAMP.astype(np.int32) * 2, RAMP.astype(np.float32)])
def test_numbers_without_an_agreed_white_are_refused(pixels):
    with pytest.raises(DecodeError, match="have no agreed white; convert the file to 8 or 16 bits"):
        decode(encoded(Image.fromarray(pixels), "TIFF"), 8)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "WEBP"])
def test_transparency_is_composited_over_white(file_format):
    alpha = noise(seed=1)[..., :1]
    image = Image.fromarray(np.concatenate([noise(), alpha], axis=2))
    options = {"lossless": True, "exact": True} if file_format == "WEBP" else {}
    share = alpha / 255
    expected = share * noise() + (1 - share) * 255
    decoded = decode(encoded(image, file_format, **options), 8)
    assert np.abs(decoded - expected).max() <= 1


def test_transparent_grey_and_palette_entries_are_white():
    grey = Image.fromarray(np.zeros((8, 8, 2), np.uint8), "LA")
    assert (decode(encoded(grey, "PNG"), 8) == 255).all()
    palette = Image.new("P", (8, 8), 3)
    palette.putpalette([10] * 768)
    assert (decode(encoded(palette, "PNG", transparency=3), 8) == 255).all()
    assert (decode(encoded(palette, "PNG", transparency=4), 8) == 10).all()


@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
def test_cmyk_keeps_its_colours(file_format):
    image = Image.new("RGB", (16, 16), (200, 40, 90)).convert("CMYK")
    decoded = decode(encoded(image, file_format), 16).astype(int)
    assert np.abs(decoded - (200, 40, 90)).max() <= 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_cameras_orientation_is_applied(orientation):
    upright = noise()
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif)
    np.testing.assert_array_equal(decode(data, 8), upright)


def test_the_centre_square_is_cut_out_without_resampling():
    data = encoded(Image.fromarray(noise(8, 14)), "PNG")
    np.testing.assert_array_equal(decode(data, 8), noise(8, 14)[:, 3:11])


def test_the_shorter_side_becomes_the_wanted_one_with_antialiasing():
    stripes = np.zeros((64, 96, 3), np.uint8)
    stripes[:, ::2] = 255
    decoded = decode(encoded(Image.fromarray(stripes), "PNG"), 8).astype(int)
    assert decoded.shape == (8, 8, 3)
    assert np.abs(decoded[:, 1:-1] - 127.5).max() < 3


def test_small_images_are_enlarged():
    data = encoded(Image.new("RGB", (1, 3), (9, 8, 7)), "PNG")
    assert decode(data, 8).tolist() == [[[9, 8, 7]] * 8] * 8


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


@pytest.mark.parametrize("data", [b"", b"not an image", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_refused(data):
    with pytest.raises(DecodeError, match="not an image that Pillow can read"):
        decode(data, 8)


def test_large_images_pass_in_silence_and_absurd_ones_are_refused(monkeypatch):
    data = encoded(Image.fromarray(noise()), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60)
    assert decode(data, 8).shape == (8, 8, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(DecodeError, match="decompression bomb"):
        decode(data, 8)
