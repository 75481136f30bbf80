"""Policy of glibc's allocator during training on the CPU."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Parameters of mallopt, from glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_USUAL = {_TRIM_THRESHOLD: 64 * 2**20, _MMAP_THRESHOLD: 32 * 2**20, _MMAP_MAX: 65536}
_KEEPING = {_TRIM_THRESHOLD: 2**31 - 1, _MMAP_MAX: 0}


@contextmanager
def keep_freed_memory() -> Iterator[None]:
    """Keep freed memory in the process inside the block, and return it to the system at the end.

    By default glibc maps each large tensor anew, and the system clears its pages at every step.
    Afterwards the thresholds are those to which glibc itself raises them at most. Other allocators
    are left alone.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is None or not hasattr(libc, "mallopt"):
        yield
        return
    _set(libc, _KEEPING)
    try:
        yield
    finally:
        _set(libc, _USUAL)
        libc.malloc_trim(ctypes.c_size_t(0))


def _set(libc: ctypes.CDLL, values: dict[int, int]) -> None:
    for parameter, value in values.items():
        libc.mallopt(ctypes.c_int(parameter), ctypes.c_int(value))
