"""Real image files for tests."""

import io
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def noise(height: int = 8, width: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_images(folder: Path, count: int, side: int = 8, first_seed: int = 0) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{index:03}.png" for index in range(count)]
    for index, path in enumerate(paths):
        Image.fromarray(noise(side, side, first_seed + index)).save(path)
    return paths


def encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    """Return the bytes of a file."""
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def png_chunk(kind: bytes, content: bytes, check: int | None = None) -> bytes:
    """Return a chunk of a PNG, with its checksum or a wrong one."""
    check = zlib.crc32(kind + content) if check is None else check
    return len(content).to_bytes(4, "big") + kind + content + check.to_bytes(4, "big")
