"""Allocation of shared memory: ranges of chunks are leased to the other side.

Touching fresh pages costs far more than copying into pages that were used before, so a chunk stays
allocated when its leases end.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from .exceptions import QuotaError
from .shared_memory import PAGE, Chunk

CHUNK_BYTES = 64 * 2**20
"""Size of a chunk, unless something larger has to fit in."""

Range = tuple[Chunk, int, int]
"""Chunk, offset and size."""


class Arena:
    """The chunks in which one side stores what the other reads.

    Args:
        quota: bytes that all chunks together may have.
        obtain: makes a chunk that the other side knows about, for (number, size).
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        quota: int,
        obtain: Callable[[int, int], Chunk],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.quota = quota
        self._obtain = obtain
        self._clock = clock
        self.chunks: dict[int, Chunk] = {}
        self.leases: dict[int, Range] = {}
        self._homes: dict[int, Range] = {}
        self._users: dict[tuple[int, int], int] = {}
        self._ended: deque[Range] = deque()
        self._chunk_count = 0
        self._lease_count = 0
        self._lock = threading.Lock()

    def lease(self, size: int) -> tuple[Chunk, int, int]:
        """Lease a range of that many bytes.

        Returns:
            The chunk, the offset in it, and the number of the lease.

        Raises:
            QuotaError: it would be more than the quota.
        """
        size = max(-(-size // PAGE) * PAGE, PAGE)
        with self._lock:
            self._free_ended()
            chunk, offset = self._find_room(size)
            return chunk, offset, self._add_lease(chunk, offset, size)

    def lease_again(self, home: int) -> int:
        """Return another lease of a range that this side holds, for the other side."""
        with self._lock:
            return self._add_lease(*self._homes[home])

    def _add_lease(self, chunk: Chunk, offset: int, size: int) -> int:
        self._lease_count += 1
        self.leases[self._lease_count] = (chunk, offset, size)
        self._users[chunk.number, offset] = self._users.get((chunk.number, offset), 0) + 1
        chunk.last_used = self._clock()
        return self._lease_count

    def hold(self, lease: int) -> None:
        """Make a lease this side's own: the other side cannot give it back by its number."""
        with self._lock:
            self._homes[lease] = self.leases.pop(lease)

    def release(self, home: int) -> None:
        """End a lease that this side holds; the range is free when its other leases have ended."""
        self._end(self._homes.pop(home, None))

    def give_back(self, lease: int) -> bool:
        """End a lease of the other side; return False if there is no such lease."""
        return self._end(self.leases.pop(lease, None))

    @property
    def idle_bytes(self) -> int:
        """Bytes in all chunks that have pages and no lease."""
        return sum(chunk.idle_bytes for chunk in [*self.chunks.values()])

    @property
    def held(self) -> int:
        """Bytes that this side holds."""
        return sum(size for _, _, size in tuple(self._homes.values()))

    def _end(self, ended: Range | None) -> bool:
        """End the use of a range, without waiting for the lock.

        The caller may be the thread that reads from the other side, or a finalizer that runs while
        the same thread has the lock.
        """
        if ended is None:
            return False
        self._ended.append(ended)
        if self._lock.acquire(blocking=False):
            try:
                self._free_ended()
            finally:
                self._lock.release()
        return True

    def _free_ended(self) -> None:
        while self._ended:
            chunk, offset, size = self._ended.popleft()
            users = self._users.pop((chunk.number, offset), 0) - 1
            if users > 0:
                self._users[chunk.number, offset] = users
            elif self.chunks.get(chunk.number) is chunk:
                chunk.give_back(offset, size)
                chunk.last_used = self._clock()

    def _find_room(self, size: int) -> tuple[Chunk, int]:
        for chunk in self.chunks.values():
            if (offset := chunk.take(size)) is not None:
                return chunk, offset
        allocated = sum(chunk.size for chunk in self.chunks.values())
        if allocated + size > self.quota:
            empty = [chunk for chunk in self.chunks.values() if chunk.empty]
            allocated -= sum(self._drop(chunk) for chunk in empty)
        if allocated + size > self.quota:
            raise QuotaError(f"{allocated + size} > {self.quota} bytes")
        self._chunk_count += 1
        chunk_size = min(max(size, CHUNK_BYTES), self.quota - allocated)
        chunk = self._obtain(self._chunk_count, chunk_size)
        self.chunks[chunk.number] = chunk
        offset = chunk.take(size)
        assert offset is not None  # noqa: S101  a new chunk is empty and large enough
        return chunk, offset

    def _drop(self, chunk: Chunk) -> int:
        del self.chunks[chunk.number]
        chunk.close()
        return chunk.size

    def trim(self, seconds: float) -> list[int]:
        """Free chunks that were empty for that many seconds.

        Returns:
            Their numbers.
        """
        with self._lock:
            self._free_ended()
            until = self._clock() - seconds
            idle = [
                chunk for chunk in self.chunks.values() if chunk.empty and chunk.last_used <= until
            ]
            for chunk in idle:
                self._drop(chunk)
            return [chunk.number for chunk in idle]

    def close(self) -> None:
        """Free all chunks, leased or not."""
        with self._lock:
            for chunk in [*self.chunks.values()]:
                self._drop(chunk)
            self.leases.clear()
            self._homes.clear()
            self._users.clear()
