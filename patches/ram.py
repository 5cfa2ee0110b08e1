"""RAM: how much there is, can be had, and is in use by this process; bytes.

What a container may use counts where that is less than what the machine has.
"""

from __future__ import annotations

import functools
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")
"""Where a container finds its own limits."""
LIMIT = ("memory.max", "memory/memory.limit_in_bytes")
"""Files of version 2 and 1 of cgroups."""
UNLIMITED = 2**60
"""Version 1 has a number near 2^63 where there is no limit."""


def whole() -> int:
    """All there is, with swap space."""
    memory, swap = psutil.virtual_memory().total, psutil.swap_memory().total
    return min(memory, _limit(*LIMIT)) + min(swap, _limit("memory.swap.max"))


def available() -> int:
    """What can be had now without swapping."""
    return min(psutil.virtual_memory().available, _limit(*LIMIT) - resident())


def resident() -> int:
    """What this process has in RAM."""
    return _process().memory_info().rss


def _limit(*names: str) -> int:
    for name in names:
        try:
            text = (CGROUP / name).read_text(encoding="ascii").strip()
        except OSError:
            continue
        return int(text) if text.isdecimal() else UNLIMITED
    return UNLIMITED


@functools.cache
def _process() -> psutil.Process:
    return psutil.Process()
