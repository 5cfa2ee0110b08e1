"""Shared memory for tensors: files in memory that are leased, given back and used again.

Touching fresh pages costs far more than copying into pages that were used before, so a chunk stays
when its leases end. Every chunk has its size sealed, so nobody can shrink it under the other side's
feet. What the host writes into is sealed against writing by anybody else (``F_SEAL_FUTURE_WRITE``)
and mapped privately by the worker, which may change what it got without changing it for others.
What the worker writes into is copied by the host before it is looked at.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

CHUNK_BYTES = 64 * 2**20
"""Size of a chunk, unless something larger has to fit in."""
PAGE = mmap.PAGESIZE
F_ADD_SEALS, F_GET_SEALS = 1033, 1034
SEAL, SHRINK, GROW, FUTURE_WRITE = 1, 2, 4, 16


class QuotaError(MemoryError):
    """What lies in the arena and what was asked for is more than may be there."""


@dataclass
class Chunk:
    """One file in memory.

    Attributes:
        number: how the other side knows it.
        fd: its descriptor.
        size: in bytes, of whole pages.
        memory: where this process has it mapped, shared.
        holes: free stretches as (offset, size), in order.
        used: when the last lease began or ended, in seconds of the monotonic clock.
        touched: bytes from its beginning that have been used, so they have pages.
    """

    number: int
    fd: int
    size: int
    memory: mmap.mmap
    holes: list[tuple[int, int]] = field(default_factory=list)
    used: float = 0.0
    touched: int = 0

    @property
    def kept(self) -> int:
        """Bytes that have pages and no lease: they wait for their next use."""
        holes = tuple(self.holes)
        return sum(max(0, min(start + room, self.touched) - start) for start, room in holes)

    @property
    def empty(self) -> bool:
        """True while nothing is leased."""
        return self.holes == [(0, self.size)]

    def take(self, size: int) -> int | None:
        """Offset of a stretch of that many bytes, the first that is large enough."""
        for index, (offset, room) in enumerate(self.holes):
            if room >= size:
                rest = [(offset + size, room - size)] if room > size else []
                self.holes[index : index + 1] = rest
                self.touched = max(self.touched, offset + size)
                return offset
        return None

    def give(self, offset: int, size: int) -> None:
        """The stretch is free again; joined with its neighbours."""
        self.holes.append((offset, size))
        self.holes.sort()
        joined = self.holes[:1]
        for start, room in self.holes[1:]:
            last, length = joined[-1]
            if last + length == start:
                joined[-1] = (last, length + room)
            else:
                joined.append((start, room))
        self.holes[:] = joined


def make_chunk(number: int, size: int) -> Chunk:
    """A new file in memory whose size is sealed, mapped for reading and writing."""
    size = -(-size // PAGE) * PAGE
    fd = os.memfd_create(f"zimage-{number}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, size)
        fcntl.fcntl(fd, F_ADD_SEALS, SHRINK | GROW)
        memory = mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    except BaseException:
        os.close(fd)
        raise
    return Chunk(number, fd, size, memory, [(0, size)])


def seal(chunk: Chunk, writable: bool) -> None:
    """No seal can be added later; without ``writable`` only what is mapped now can write."""
    fcntl.fcntl(chunk.fd, F_ADD_SEALS, SEAL | (0 if writable else FUTURE_WRITE))


def ours_alone(chunk: Chunk) -> bool:
    """Whether nobody but this process can write there."""
    return bool(fcntl.fcntl(chunk.fd, F_GET_SEALS) & FUTURE_WRITE)


class Arena:
    """Where one side puts what the other shall read.

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
        self.quota, self._obtain, self._clock = quota, obtain, clock
        self.chunks: dict[int, Chunk] = {}
        self.leases: dict[int, tuple[Chunk, int, int]] = {}
        self._homes: dict[int, tuple[Chunk, int, int]] = {}
        self._users: dict[tuple[int, int], int] = {}
        self._ended: deque[tuple[Chunk, int, int]] = deque()
        self._number = self._lease = 0
        self._lock = threading.Lock()

    def lease(self, size: int) -> tuple[Chunk, int, int]:
        """Room for that many bytes: the chunk, the offset in it, and the number of the lease.

        Raises:
            QuotaError: it would be more than the quota.
        """
        size = max(-(-size // PAGE) * PAGE, PAGE)
        with self._lock:
            self._tidy()
            chunk, offset = self._room(size)
            return chunk, offset, self._use(chunk, offset, size)

    def again(self, home: int) -> int:
        """A lease of what is held, for the other side; its number."""
        with self._lock:
            return self._use(*self._homes[home])

    def _use(self, chunk: Chunk, offset: int, size: int) -> int:
        self._lease += 1
        self.leases[self._lease] = (chunk, offset, size)
        self._users[chunk.number, offset] = self._users.get((chunk.number, offset), 0) + 1
        chunk.used = self._clock()
        return self._lease

    def hold(self, lease: int) -> None:
        """Make a lease this side's own: the other cannot give it back by its number."""
        with self._lock:
            self._homes[lease] = self.leases.pop(lease)

    def let_go(self, home: int) -> None:
        """The end of what was held; the room is free once all leases of it have ended, too."""
        self._end(self._homes.pop(home, None))

    @property
    def kept(self) -> int:
        """Bytes in all chunks that wait for their next use."""
        return sum(chunk.kept for chunk in [*self.chunks.values()])

    @property
    def held(self) -> int:
        """Bytes that this side holds."""
        return sum(size for _, _, size in tuple(self._homes.values()))

    def _end(self, what: tuple[Chunk, int, int] | None) -> bool:
        """Never waits: it is called where the other side is read, and when a tensor ends, which
        can be while this thread is in here."""
        if what is None:
            return False
        self._ended.append(what)
        if self._lock.acquire(blocking=False):
            try:
                self._tidy()
            finally:
                self._lock.release()
        return True

    def _tidy(self) -> None:
        while self._ended:
            chunk, offset, size = self._ended.popleft()
            users = self._users.pop((chunk.number, offset), 0) - 1
            if users > 0:
                self._users[chunk.number, offset] = users
            elif self.chunks.get(chunk.number) is chunk:
                chunk.give(offset, size)
                chunk.used = self._clock()

    def _room(self, size: int) -> tuple[Chunk, int]:
        for chunk in self.chunks.values():
            if (offset := chunk.take(size)) is not None:
                return chunk, offset
        held = sum(chunk.size for chunk in self.chunks.values())
        if held + size > self.quota:
            held -= sum(self._drop(chunk) for chunk in [*self.chunks.values()] if chunk.empty)
        if held + size > self.quota:
            raise QuotaError(f"{held + size} > {self.quota} bytes")
        self._number += 1
        chunk = self._obtain(self._number, min(max(size, CHUNK_BYTES), self.quota - held))
        self.chunks[chunk.number] = chunk
        offset = chunk.take(size)
        assert offset is not None  # noqa: S101  a new chunk is empty and large enough
        return chunk, offset

    def _drop(self, chunk: Chunk) -> int:
        del self.chunks[chunk.number]
        with contextlib.suppress(BufferError):  # a tensor lives there: it goes with the tensor
            chunk.memory.close()
        os.close(chunk.fd)
        return chunk.size

    def give_back(self, lease: int) -> bool:
        """The other side needs it no more; False for a lease that there is not."""
        return self._end(self.leases.pop(lease, None))

    def trim(self, older: float) -> list[int]:
        """Give chunks back to the system that were empty for ``older`` seconds; their numbers."""
        with self._lock:
            self._tidy()
            until = self._clock() - older
            gone = [one for one in self.chunks.values() if one.empty and one.used <= until]
            for chunk in gone:
                self._drop(chunk)
            return [chunk.number for chunk in gone]

    def close(self) -> None:
        """Give everything back to the system, leased or not."""
        with self._lock:
            for chunk in [*self.chunks.values()]:
                self._drop(chunk)
            self.leases.clear()
            self._homes.clear()
            self._users.clear()
