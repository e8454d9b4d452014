"""Memory that was freed goes back to the system."""

from pathlib import Path

import numpy as np
import pytest

from composer.core import heap
from composer.core.heap import EVERY, FreedMemory, glibc

BLOCK = 100_000  # bytes: below what malloc maps apart


def resident():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return 1024 * int(line.split()[1])
    raise AssertionError("the system does not say")


def leave_holes():
    """Fill 100 MB of the heap, free it, and return what keeps the last of it in use."""
    blocks = [np.ones(BLOCK, np.uint8) for _ in range(1000)]
    return blocks[::100]


@pytest.mark.skipif(not glibc(), reason="another C library")
def test_holes_are_given_back_now_and_then(monkeypatch):
    now = 100.0
    monkeypatch.setattr(heap.time, "monotonic", lambda: now)
    freed = FreedMemory()
    kept = leave_holes()
    before = resident()
    freed.give_back()
    assert resident() < before - 60e6
    kept += leave_holes()
    before = resident()
    now += EVERY - 0.1
    freed.give_back()
    assert resident() > before - 20e6
    now += 0.1
    freed.give_back()
    assert resident() < before - 60e6
    assert all(block.all() for block in kept)


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(heap, "glibc", lambda: None)
    FreedMemory().give_back()
