"""Atomic writes of files, with an error message of one line if the disk is full."""

import errno
import json
import os
import secrets
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import ZipFile, is_zipfile
from zlib import crc32

from ssl_norm.errors import UserError
from ssl_norm.text import finite_or_none

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def default_cache_dir() -> Path:
    """Return `$XDG_CACHE_HOME/ssl_norm`, or `~/.cache/ssl_norm`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "ssl_norm"


@contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """Open a file that replaces `path` when the block ends.

    Until then the old file stays, even if the process is killed or the disk is full. A link stays a
    link, and a device such as /dev/stdout is written to directly.

    Raises:
        UserError: the file cannot be written.
    """
    place = Path(os.path.realpath(path))
    with _one_line_if_full(path):
        if place.exists() and not place.is_file():
            with open(place, "wb") as device:
                yield device
            return
        partial = unfinished(place.parent)
        try:
            with open(partial, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, place)
        finally:
            partial.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with replaced(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Write a file as :func:`utf8`, whole or not at all."""
    write_bytes(path, utf8(text))


def utf8(text: str) -> bytes:
    r"""Return text in UTF-8; bytes of a file name that are not UTF-8 become escapes.

    Example:
        >>> utf8("caf\udce9").decode()
        'caf\\udce9'
    """
    return text.encode(errors="backslashreplace")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all; NaN and infinities, which JSON lacks, are null.

    Its last key, `crc32`, is the checksum of the other keys.
    """
    plain = json.loads(json.dumps(finite_or_none(content), allow_nan=False))
    write_text(path, json.dumps(plain | {"crc32": checksum(plain)}, indent=2) + "\n")


def checksum(content: Mapping[str, Any]) -> str:
    """Return the CRC-32 of an object of JSON."""
    return f"{crc32(json.dumps(content).encode()):08x}"


def check_archive(path: Path) -> None:
    """Raise UserError if parts of a zip file of torch.save do not match their CRC-32.

    Torch does not compare them. A file without checksums, written after `set_crc32_options(False)`,
    is not checked.
    """
    if not is_zipfile(path):
        return
    with ZipFile(path) as archive:
        has_checksums = any(part.CRC for part in archive.infolist())
        damaged = archive.testzip() if has_checksums else None
    if damaged:
        raise UserError(f"{path} is damaged: {damaged} in it does not match its checksum")


def append_text(path: Path, text: str) -> None:
    """Append text to a file as :func:`utf8`; if the disk is full, the file is unchanged."""
    with _one_line_if_full(path), open(path, "ab", buffering=0) as file:
        size, left = file.tell(), utf8(text)
        try:
            while left:
                left = left[file.write(left) :]
        except OSError:
            with suppress(OSError):  # a device has no size
                file.truncate(size)
            raise


def unfinished(folder: Path) -> Path:
    """Return a path in a folder for a file or folder that is renamed when it is complete.

    Those that killed processes of this machine left behind are removed.
    """
    prefix = f".partial-{socket.gethostname()}-"
    for left in folder.glob(f"{prefix}*-*"):
        process = left.name.removeprefix(prefix).partition("-")[0]
        if process.isdecimal() and not is_alive(int(process)):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)
    return folder / f"{prefix}{os.getpid()}-{secrets.token_hex(4)}"


def is_alive(process: int) -> bool:
    """Return whether a process of this machine is running, given its id."""
    try:
        if os.name != "nt":  # on Windows, signal 0 is Ctrl-C
            os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


@contextmanager
def _one_line_if_full(path: Path) -> Iterator[None]:
    """Turn an OSError, or a library's error caused by one, into a UserError of one line."""
    try:
        yield
    except Exception as error:
        found: BaseException | None = error
        while found is not None and not isinstance(found, OSError):
            found = found.__cause__ or found.__context__
        if found is None or isinstance(error, UserError):
            raise
        reason = f"cannot write {path}: {found.strerror or found}"
        full = "; free space there, or choose another folder" if found.errno in _FULL else ""
        raise UserError(f"{reason}{full}") from error
