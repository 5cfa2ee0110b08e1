"""glibc's heaps of threads, found in a process's maps."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

MOST = 64 * 2**20
"""What glibc reserves for one, at a multiple of this address; used from the front."""


def of_threads(maps: str) -> Iterator[str]:
    """Lines of proc_pid_maps(5) where a thread's heap begins."""
    for line, after in pairwise(maps.strip().splitlines()):
        (begin, end), (follows, last) = _range(line), _range(after)
        reserved = end == follows and last - begin == MOST and "---p" in after
        if begin % MOST == 0 and "rw-p" in line and reserved:
            yield line


def _range(line: str) -> tuple[int, int]:
    begin, _, end = line.split()[0].partition("-")
    return int(begin, 16), int(end, 16)
