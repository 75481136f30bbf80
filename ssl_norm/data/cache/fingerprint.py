"""What tells one set of files from another; needs no torch."""

import hashlib
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

# A file written again within the clock's resolution of its last change shows no trace of it.
_CLOCK_RESOLUTION_NS = 2_000_000_000


@dataclass(frozen=True)
class StatFingerprint:
    """A digest of the files' names, sizes, times and inodes, which is fast but not everlasting.

    Attributes:
        digest: hexadecimal.
        settled: whether every file had been left alone for two seconds, so that any later change
            must show.
    """

    digest: str
    settled: bool


def stat_fingerprint(folder: Path, paths: Iterable[str]) -> StatFingerprint:
    """Return a fingerprint that changes whenever a file does, as Git's index knows it.

    It holds the time of the last status change, which a file's owner cannot set: a file that is
    replaced by one of the same size and modification time has another fingerprint. (On Windows that
    field is the time of creation.)
    """
    now, newest = time.time_ns(), 0
    digest = hashlib.sha256(os.fsencode(folder))
    for path in paths:
        try:
            stat = os.stat(os.path.join(folder, path))
            fields = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
            newest = max(newest, stat.st_mtime_ns, stat.st_ctime_ns)
        except OSError as error:
            fields = (-1, error.errno or 0, 0, 0)
        digest.update(b"\0%s\0%d %d %d %d" % (os.fsencode(path), *fields))
    return StatFingerprint(digest.hexdigest(), newest + _CLOCK_RESOLUTION_NS < now)


def content_digest(data: bytes) -> bytes:
    """Return the digest of one file's bytes."""
    return hashlib.sha256(data).digest()


def file_digests(files: Sequence[str]) -> list[bytes]:
    """Return the content digest of each file; of one that cannot be read, the digest of nothing."""
    return [content_digest(read_or_empty(file)) for file in files]


def read_or_empty(file: str) -> bytes:
    """Return a file's bytes; none where it cannot be read."""
    try:
        return Path(file).read_bytes()
    except OSError:
        return b""
