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
POOL_BYTES = 512 * 2**20
IDLE_SECONDS = 15.0
"""How long an unused buffer stays in the pool, and how long freed memory stays readable."""


def window(memory: mmap.mmap, offset: int, size: int) -> Any:
    """Return a part of a mapping as a buffer that supports weak references.

    Every tensor, array and view made of it keeps it alive, unlike a slice of a ``memoryview``.
    """
    return (ctypes.c_ubyte * size).from_buffer(memory, offset)


class BufferPool:
    """Buffers whose memory returns to the pool when nothing refers to them.

    There are no locks: a finalizer can run anywhere, also in the middle of a method of this class.

    Args:
        limit: bytes that may be unused at once.
        clock: seconds, monotonic.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self._clock = clock
        self._unused: deque[tuple[float, mmap.mmap]] = deque()
        self._to_free: deque[tuple[float, Any, int]] = deque()

    @property
    def unused_bytes(self) -> int:
        """Bytes of buffers that can be used again."""
        return sum(len(memory) for _, memory in tuple(self._unused))

    @property
    def idle_bytes(self) -> int:
        """Bytes that nothing uses, including memory that is freed later."""
        return self.unused_bytes + sum(size for _, _, size in tuple(self._to_free))

    def take(self, size: int) -> Any:
        """Return a buffer of that many bytes with undefined content."""
        memory = self._find(size) or _map(size)
        buffer = window(memory, 0, size)
        weakref.finalize(buffer, self._recycle, memory).atexit = False
        return buffer

    def _find(self, size: int) -> mmap.mmap | None:
        """Take the newest memory that is large enough and not much larger: it may be cached."""
        for entry in reversed(tuple(self._unused)):
            memory = entry[1]
            if size <= len(memory) <= size + size // 8 + HUGE_PAGE:
                with contextlib.suppress(ValueError):  # another thread has taken it
                    self._unused.remove(entry)
                    return memory
        return None

    def _recycle(self, memory: mmap.mmap) -> None:
        if self.unused_bytes + len(memory) <= self.limit:
            self._unused.append((self._clock(), memory))

    def free_later(self, memory: Any, size: int) -> None:
        """Free an object after :data:`IDLE_SECONDS`.

        Args:
            memory: the object.
            size: its bytes.
        """
        self._to_free.append((self._clock(), memory, size))

    def trim(self, seconds: float = 0.0) -> None:
        """Free what has been unused for that many seconds."""
        until = self._clock() - seconds
        entries: deque[Any]
        for entries in (self._unused, self._to_free):
            for entry in tuple(entries):
                if entry[0] <= until:
                    with contextlib.suppress(ValueError):
                        entries.remove(entry)

    def trim_forever(self) -> None:
        """Free unused memory from time to time; never returns."""
        while True:
            time.sleep(IDLE_SECONDS / 3)
            self.trim(IDLE_SECONDS)


def _map(size: int) -> mmap.mmap:
    """Return new anonymous memory, in huge pages if the system has any."""
    size = -(-size // HUGE_PAGE) * HUGE_PAGE
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


@functools.cache
def shared_pool() -> BufferPool:
    """Return the pool of this process."""
    pool = BufferPool(POOL_BYTES)
    threading.Thread(target=pool.trim_forever, name="zimage-buffers", daemon=True).start()
    return pool


def idle_bytes() -> int:
    """Return the idle bytes of the pool of this process, without creating one."""
    return shared_pool().idle_bytes if shared_pool.cache_info().currsize else 0
