"""Readers of encoded images from any storage; need no torch."""

import errno
import hashlib
import os
import stat
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from ssl_norm.text import printable

# A file that is rewritten within the clock's resolution shows no change.
_CLOCK_RESOLUTION_NS = 2_000_000_000


class Stamp(NamedTuple):
    """State of a stored image."""

    fields: tuple[int, ...]  # at least one value changes whenever the bytes change
    changed: int  # ns since the epoch; the present time if unknown, so that the image is read


class Reader(Protocol):
    """Collection of encoded images by identifier, such as a folder or an archive.

    Worker processes get copies of it, so it must not hold open files.
    """

    @property
    def name(self) -> str:
        """Name of the collection for messages, such as its path."""

    def read(self, identifier: str) -> bytes:
        """Return the bytes of an image file; raise OSError if they cannot be read."""

    def stamp(self, identifier: str) -> Stamp:
        """Return the state of an image without reading it."""


@dataclass(frozen=True)
class FolderReader:
    """Regular files of a folder; identifiers are paths relative to it."""

    name: str  # absolute path of the folder
    most_bytes: int = 2**30  # of a file

    def read(self, identifier: str) -> bytes:
        """Return the bytes of a file; raise OSError for a pipe or device, which may never end."""
        path = Path(self.name, identifier)
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "a pipe, socket or device, not a regular file")
        if status.st_size > self.most_bytes:
            raise OSError(errno.EFBIG, f"{status.st_size / 1e9:.1f} GB, too large for an image")
        return path.read_bytes()

    def stamp(self, identifier: str) -> Stamp:
        """Return size, times and inode of a file; Git's index detects changes by the same fields.

        Because the owner of a file cannot set the time of its last status change, the replacement
        by a file of the same size and modification time is detected. (On Windows this field is the
        time of creation.)
        """
        try:
            status = os.stat(os.path.join(self.name, identifier))
        except OSError as error:
            return Stamp((-1, error.errno or 0, 0, 0), 0)
        changed = max(status.st_mtime_ns, status.st_ctime_ns)
        fields = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        return Stamp(fields, changed)


def fingerprint(reader: Reader, identifiers: Iterable[str]) -> tuple[str, bool]:
    """Return a hexadecimal digest that changes whenever an image changes, without reading images.

    Also return whether all images are older than two seconds, so that a later change is detected.
    """
    now, newest = time.time_ns(), 0
    digest = hashlib.sha256(os.fsencode(reader.name))
    for identifier in identifiers:
        fields, changed = reader.stamp(identifier)
        newest = max(newest, changed)
        stamp = " ".join(map(str, fields)).encode()
        digest.update(b"\0%s\0%s" % (os.fsencode(identifier), stamp))
    return digest.hexdigest(), newest + _CLOCK_RESOLUTION_NS < now


def read(reader: Reader, identifier: str) -> tuple[bytes, str]:
    """Return the bytes of an image and "", or no bytes and the reason why they cannot be read."""
    try:
        return reader.read(identifier), ""
    except OSError as error:
        return b"", error.strerror or str(error)


def content_digest(reader: Reader, identifier: str) -> bytes:
    """Return the digest of the bytes of an image; an unreadable image counts as empty."""
    return hashlib.sha256(read(reader, identifier)[0]).digest()


def location(reader: Reader, identifier: str) -> str:
    """Return the path of an image in printable characters."""
    return printable(os.path.join(reader.name, identifier))
