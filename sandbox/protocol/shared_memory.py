"""Chunks of shared memory: sealed files in memory (``memfd``).

The size of every chunk is sealed, so neither side can shrink it while the other reads. A chunk that
the host writes is sealed against other writers (``F_SEAL_FUTURE_WRITE``); the worker maps it
privately and may change its copy. The host copies what it reads from a chunk that the worker
writes, before it looks at the content.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
from dataclasses import dataclass, field

PAGE = mmap.PAGESIZE
# Values from linux/fcntl.h: Python 3.11 has no names for the first two and the last.
F_ADD_SEALS = 1033
F_GET_SEALS = 1034
F_SEAL_SEAL = 1
F_SEAL_SHRINK = 2
F_SEAL_GROW = 4
F_SEAL_FUTURE_WRITE = 16


@dataclass
class Chunk:
    """One file in memory.

    Attributes:
        number: by which messages refer to it.
        fd: its descriptor.
        size: in bytes, a multiple of the page size.
        memory: shared mapping of this process.
        holes: free ranges as (offset, size), sorted.
        last_used: when the last lease began or ended, in seconds of the monotonic clock.
        touched_bytes: bytes from the beginning that were ever used, so that they have pages.
    """

    number: int
    fd: int
    size: int
    memory: mmap.mmap
    holes: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    last_used: float = 0.0
    touched_bytes: int = 0

    @property
    def idle_bytes(self) -> int:
        """Bytes that have pages and no lease."""
        return sum(
            max(0, min(start + size, self.touched_bytes) - start)
            for start, size in tuple(self.holes)
        )

    @property
    def empty(self) -> bool:
        """Whether nothing is leased."""
        return self.holes == [(0, self.size)]

    def take(self, size: int) -> int | None:
        """Return the offset of the first free range that is large enough, None if there is none."""
        for index, (offset, free) in enumerate(self.holes):
            if free >= size:
                rest = [(offset + size, free - size)] if free > size else []
                self.holes[index : index + 1] = rest
                self.touched_bytes = max(self.touched_bytes, offset + size)
                return offset
        return None

    def give_back(self, offset: int, size: int) -> None:
        """Free a range and join it with its neighbours."""
        self.holes.append((offset, size))
        self.holes.sort()
        joined = self.holes[:1]
        for start, free in self.holes[1:]:
            last, length = joined[-1]
            if last + length == start:
                joined[-1] = (last, length + free)
            else:
                joined.append((start, free))
        self.holes[:] = joined

    def close(self) -> None:
        """Close mapping and descriptor; memory that a tensor uses stays until the tensor ends."""
        with contextlib.suppress(BufferError):
            self.memory.close()
        os.close(self.fd)


def make_chunk(number: int, size: int) -> Chunk:
    """Return a new chunk of sealed size, mapped for reading and writing."""
    size = -(-size // PAGE) * PAGE
    fd = os.memfd_create(f"zimage-{number}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, size)
        fcntl.fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW)
        memory = mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    except BaseException:
        os.close(fd)
        raise
    return Chunk(number, fd, size, memory, [(0, size)])


def seal(chunk: Chunk, writable: bool) -> None:
    """Seal the seals.

    Args:
        chunk: the chunk.
        writable: whether other processes may write; else only existing mappings can.
    """
    fcntl.fcntl(chunk.fd, F_ADD_SEALS, F_SEAL_SEAL | (0 if writable else F_SEAL_FUTURE_WRITE))


def only_host_writes(chunk: Chunk) -> bool:
    """Return whether no other process can write to the chunk."""
    return bool(fcntl.fcntl(chunk.fd, F_GET_SEALS) & F_SEAL_FUTURE_WRITE)
