"""Measure RAM in bytes: in total, available, and in use by this process; share one heap.

Limits of a container count where they are lower than those of the machine.
"""

from __future__ import annotations

import ctypes
import functools
import os
import resource
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")
"""Where a container has its own limits."""
LIMIT = ("memory.max", "memory/memory.limit_in_bytes")
"""Files of version 2 and 1 of cgroups."""
USAGE = (
    ("memory.current", "memory.stat", ("active_file", "inactive_file")),
    (
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        ("total_active_file", "total_inactive_file"),
    ),
)
"""Files of version 2 and 1: what all processes of the group use, and the counters of the pages of
files in it. The kernel reclaims such pages when memory is short; tmpfs is not among them."""
PAGE = resource.getpagesize()
UNLIMITED = 2**60
"""Version 1 has a number near 2^63 where there is no limit."""

ARENA_MAX = -8
"""``M_ARENA_MAX`` of mallopt(3)."""


def one_heap() -> bool:
    """Let new threads share the main thread's heap; return False without glibc.

    glibc gives threads heaps of their own, which ``malloc_trim`` never shrinks: whether tens of
    megabytes are returned depends on chance. ``$MALLOC_ARENA_MAX`` has priority if it is set.
    """
    if "MALLOC_ARENA_MAX" in os.environ:
        return False
    try:
        return bool(ctypes.CDLL(None).mallopt(ARENA_MAX, 1))
    except (AttributeError, OSError, TypeError):
        return False


def whole() -> int:
    """Return all RAM, with swap space."""
    memory, swap = psutil.virtual_memory().total, psutil.swap_memory().total
    return min(memory, _limit(*LIMIT)) + min(swap, _limit("memory.swap.max"))


def available() -> int:
    """Return the RAM that is available without swapping."""
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
    """Return the RAM of this process, in a few microseconds."""
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
    """Return a descriptor of proc_pid_statm(5), whose second number is the resident pages."""
    return os.open("/proc/self/statm", os.O_RDONLY)
