"""Memory for large copies that is used again, since fresh pages cost more than the copy itself."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import mmap
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

HUGE_PAGE = 2 * 2**20
WARM_BYTES = 512 * 2**20
IDLE_SECONDS = 15.0
"""How long a buffer waits for its next use, and old memory for whoever may still read it."""


def window(memory: mmap.mmap, offset: int, size: int) -> Any:
    """A part of a mapping as a buffer that can be referred to weakly.

    Every tensor, array and view made of it keeps it alive, unlike a slice of a ``memoryview``.
    """
    return (ctypes.c_ubyte * size).from_buffer(memory, offset)


class Warm:
    """Memory for copies. What nothing refers to any more is used again while it has its pages.

    Args:
        limit: bytes that may wait for their next use.
        clock: seconds, monotonic.

    No locks: the end of a tensor can come anywhere, also in the middle of a call of this.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit, self._clock = limit, clock
        self._free: deque[tuple[float, mmap.mmap]] = deque()
        self._old: deque[tuple[float, Any, int]] = deque()

    @property
    def held(self) -> int:
        """Bytes that wait for their next use."""
        return sum(len(memory) for _, memory in tuple(self._free))

    @property
    def kept(self) -> int:
        """The same, with what lingers."""
        return self.held + sum(size for _, _, size in tuple(self._old))

    def take(self, size: int) -> Any:
        """A buffer of that many bytes, with anything in it."""
        memory = self._find(size) or _map(size)
        buffer = window(memory, 0, size)
        weakref.finalize(buffer, self._end, memory).atexit = False
        return buffer

    def _find(self, size: int) -> mmap.mmap | None:
        """The newest that is large enough and not much larger; its pages are the warmest."""
        for one in reversed(tuple(self._free)):
            if size <= len(one[1]) <= size + size // 8 + HUGE_PAGE:
                with contextlib.suppress(ValueError):  # another thread was first
                    self._free.remove(one)
                    return one[1]
        return None

    def _end(self, memory: mmap.mmap) -> None:
        if self.held + len(memory) <= self.limit:
            self._free.append((self._clock(), memory))

    def linger(self, old: Any, size: int) -> None:
        """Keep something of that many bytes for a while before it goes."""
        self._old.append((self._clock(), old, size))

    def trim(self, older: float = 0.0) -> None:
        """Give back to the system what has waited for ``older`` seconds."""
        until = self._clock() - older
        waiting: deque[Any]
        for waiting in (self._free, self._old):
            for one in tuple(waiting):
                if one[0] <= until:
                    with contextlib.suppress(ValueError):
                        waiting.remove(one)

    def keep_trimmed(self) -> None:
        """Do so all the time."""
        while True:
            time.sleep(IDLE_SECONDS / 3)
            self.trim(IDLE_SECONDS)


def _map(size: int) -> mmap.mmap:
    size = -(-size // HUGE_PAGE) * HUGE_PAGE
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


@functools.cache
def warm() -> Warm:
    """The one of this process."""
    found = Warm(WARM_BYTES)
    threading.Thread(target=found.keep_trimmed, name="zimage-warm", daemon=True).start()
    return found


def kept() -> int:
    """Bytes that it keeps; asking does not make one."""
    return warm().kept if warm.cache_info().currsize else 0
