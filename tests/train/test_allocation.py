import sys
from pathlib import Path

import pytest
import torch

from ssl_norm.train.allocation import keep_freed_memory

MIB = 2**20


def resident() -> int:
    """Return the memory of this process in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


@pytest.mark.skipif(sys.platform != "linux", reason="an allocator of Linux")
def test_freed_memory_stays_for_the_block_and_is_returned_after_it():
    start = resident()
    with keep_freed_memory():
        for _ in range(8):  # memory is used again, but glibc may need a second block for alignment
            tensor = torch.ones(256 * MIB // 4)
            del tensor
        assert 200 * MIB < resident() - start < 600 * MIB
    assert resident() - start < 100 * MIB


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with keep_freed_memory():
        torch.ones(3)
