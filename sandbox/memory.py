"""Where tensors lie between host and worker: what one side lends and what it has borrowed."""

from __future__ import annotations

import array
import mmap
import os
import socket
import threading
import weakref
from collections.abc import Callable
from typing import Any

from . import messages as m
from .arena import Arena, Chunk
from .values import ValueTroubleError

HUGE_BYTES = 4 * 2**20
"""From here on a copy gets huge pages, where the system has them to give."""
PATIENCE_SECONDS = 30.0


def copy_in(chunk: Chunk, offset: int, view: Any, size: int) -> None:
    """Copy a flat tensor or array of bytes into a chunk."""
    if hasattr(view, "untyped_storage"):
        import torch

        target = torch.frombuffer(chunk.memory, dtype=torch.uint8, offset=offset, count=size)
        target.copy_(view.view(torch.uint8))
    else:
        memoryview(chunk.memory)[offset : offset + size] = view.data


def copy_out(memory: mmap.mmap, place: m.Place) -> Any:
    """A buffer of this process alone with what lies there."""
    if place.size < HUGE_BYTES:
        return bytearray(memoryview(memory)[place.offset : place.offset + place.size])
    copy = mmap.mmap(-1, place.size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        copy.madvise(mmap.MADV_HUGEPAGE)
    import torch

    source = torch.frombuffer(memory, dtype=torch.uint8, offset=place.offset, count=place.size)
    torch.frombuffer(copy, dtype=torch.uint8).copy_(source)
    return copy


class Handover:
    """Descriptors with a number each, over a socket of their own."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._lock = threading.Lock()
        self._known: dict[int, int] = {}

    def send(self, number: int, fd: int) -> None:
        """Hand a descriptor over."""
        with self._lock:
            socket.send_fds(self.socket, [number.to_bytes(8, "little")], [fd])

    def take(self, number: int) -> int:
        """The descriptor with that number, which has been sent before the message naming it.

        Raises:
            ValueTroubleError: it was not.
        """
        with self._lock:
            while number not in self._known:
                self.socket.settimeout(PATIENCE_SECONDS)
                try:
                    data, ancillary, _, _ = self.socket.recvmsg(8, socket.CMSG_SPACE(4))
                except OSError as error:
                    raise ValueTroubleError(f"no descriptor {number}: {error}") from None
                fds = array.array("i")
                for _level, _type, found in ancillary:
                    fds.frombytes(found[: len(found) - len(found) % fds.itemsize])
                if len(data) != 8 or len(fds) != 1:
                    raise ValueTroubleError(f"no descriptor {number}")
                self._known[int.from_bytes(data, "little")] = fds[0]
            return self._known[number]

    def close(self) -> None:
        """Close what was taken, and the socket."""
        for fd in self._known.values():
            os.close(fd)
        self._known.clear()
        self.socket.close()


class Lender:
    """What this side puts in its arena for the other, and what the other still has."""

    def __init__(self, arena: Arena) -> None:
        self.arena = arena

    def put(self, view: Any, size: int) -> m.Place:
        """Copy bytes where the other side can read them."""
        chunk, offset, lease = self.arena.lease(size)
        copy_in(chunk, offset, view, size)
        return m.Place(chunk.number, offset, size, lease)


class Borrower:
    """The worker's way to what the host has put down: private mappings, given back by themselves.

    What the worker changes in them it changes for itself alone.
    """

    def __init__(self, handover: Handover, give_back: Callable[[int], None]) -> None:
        self._handover, self._give_back = handover, give_back

    def get(self, place: m.Place) -> mmap.mmap:
        """A mapping; the lease ends with the last tensor that uses it."""
        fd = self._handover.take(place.arena)
        size = -(-place.size // mmap.PAGESIZE) * mmap.PAGESIZE
        mapped = _Mapping(
            fd, size, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE, offset=place.offset
        )
        weakref.finalize(mapped, self._give_back, place.lease).atexit = False
        return mapped


class _Mapping(mmap.mmap):
    """One that can be referred to weakly."""
