"""RAM: how much there is, can be had, and is in use by this process (bytes); one heap for it all.

What a container may use counts where that is less than what the machine has.
"""

from __future__ import annotations

import ctypes
import functools
import os
import resource
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")
"""Where a container finds its own limits."""
LIMIT = ("memory.max", "memory/memory.limit_in_bytes")
"""Files of version 2 and 1 of cgroups."""
USAGE = (
    ("memory.current", "memory.stat", ("active_file", "inactive_file")),
    ("memory/memory.usage_in_bytes", "memory/memory.stat",
     ("total_active_file", "total_inactive_file")),
)  # fmt: skip
"""Files of version 2 and 1: what all processes of the group use, and the counters of the pages of
files in it. The kernel reclaims such pages when memory is short; tmpfs is not among them."""
PAGE = resource.getpagesize()
UNLIMITED = 2**60
"""Version 1 has a number near 2^63 where there is no limit."""

ARENA_MAX = -8
"""``M_ARENA_MAX`` of mallopt(3)."""


def one_heap() -> bool:
    """Have threads that begin from now on share the main thread's heap; False without glibc.

    glibc gives threads heaps of their own, and ``malloc_trim`` never shortens those: tens of
    megabytes stay or go by chance. Who has set ``$MALLOC_ARENA_MAX`` keeps that.
    """
    if "MALLOC_ARENA_MAX" in os.environ:
        return False
    try:
        return bool(ctypes.CDLL(None).mallopt(ARENA_MAX, 1))
    except (AttributeError, OSError, TypeError):
        return False


def whole() -> int:
    """All there is, with swap space."""
    memory, swap = psutil.virtual_memory().total, psutil.swap_memory().total
    return min(memory, _limit(*LIMIT)) + min(swap, _limit("memory.swap.max"))


def available() -> int:
    """What can be had now without swapping."""
    machine, limit = psutil.virtual_memory().available, _limit(*LIMIT)
    if limit >= UNLIMITED:
        return machine
    return min(machine, max(0, limit - used_in_container()))


def used_in_container() -> int:
    """Return the bytes that count against the container's limit and cannot be reclaimed.

    Workers of sandboxes and other servers in the container count, too. Where the container does not
    show its own numbers, this process counts alone.
    """
    for usage, statistics, names in USAGE:
        try:
            used = int((CGROUP / usage).read_text(encoding="ascii"))
            lines = (CGROUP / statistics).read_text(encoding="ascii").splitlines()
        except (OSError, ValueError):
            continue
        counters = dict(line.split() for line in lines)
        return max(0, used - sum(int(counters.get(name, 0)) for name in names))
    return resident()


def resident() -> int:
    """What this process has in RAM; some microseconds, as it is asked around every prompt."""
    try:
        return int(os.pread(_statm(), 128, 0).split()[1]) * PAGE
    except OSError:  # not Linux
        return psutil.Process().memory_info().rss


def _limit(*names: str) -> int:
    for name in names:
        try:
            text = (CGROUP / name).read_text(encoding="ascii").strip()
        except OSError:
            continue
        return int(text) if text.isdecimal() else UNLIMITED
    return UNLIMITED


@functools.cache
def _statm() -> int:
    """A descriptor of proc_pid_statm(5), whose second number is resident pages."""
    return os.open("/proc/self/statm", os.O_RDONLY)
