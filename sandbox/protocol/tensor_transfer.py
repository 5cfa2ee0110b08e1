"""Where tensors lie between host and worker: what one side lends and what it has borrowed.

Three things save copies and page faults. A tensor that is put down for the second time moves into
the arena, so from then on only its place is told; whoever changes it changes what the other side
gets next. Copies of results lie in buffers that are used again once nothing refers to them. Both
take huge pages where there are any.
"""

from __future__ import annotations

import array
import functools
import mmap
import os
import socket
import sys
import threading
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from . import messages as m
from .buffer_pool import warm, window
from .codec import ValueTroubleError
from .shared_memory import Arena, Chunk, QuotaError, ours_alone

HUGE_BYTES = 4 * 2**20
"""From here on a copy gets huge pages, where the system has them to give."""
SETTLE_BYTES = 2**20
"""From here on a tensor that comes again moves into the arena."""
SETTLERS_PART = 4
"""Of the quota of an arena: one part in so many for tensors that live there."""
PATIENCE_SECONDS = 30.0


def copy_in(chunk: Chunk, offset: int, view: Any, size: int) -> None:
    """Copy a contiguous tensor or array into a chunk."""
    if hasattr(view, "untyped_storage"):
        import torch

        target = torch.frombuffer(chunk.memory, dtype=torch.uint8, offset=offset, count=size)
        target.copy_(view.detach().reshape(-1).view(torch.uint8))
    else:
        memoryview(chunk.memory)[offset : offset + size] = view.data


class Copy(bytearray):
    """One that can be referred to weakly."""


def copy_out(memory: mmap.mmap, place: m.BufferRef) -> Any:
    """A buffer of this process alone with what lies there."""
    if place.size < HUGE_BYTES:
        return Copy(memoryview(memory)[place.offset : place.offset + place.size])
    import torch

    copy = warm().take(place.size)
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

    def forget(self, numbers: Iterable[int]) -> None:
        """Close descriptors that nobody needs any more."""
        with self._lock:
            for number in numbers:
                if (fd := self._known.pop(number, None)) is not None:
                    os.close(fd)

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
        self._settlers = Settlers(arena)

    def put(self, view: Any, size: int) -> m.BufferRef:
        """Have bytes where the other side can read them: by a copy, unless they are there."""
        if (place := self._settlers.place(view, size)) is not None:
            return place
        chunk, offset, lease = self.arena.lease(size)
        copy_in(chunk, offset, view, size)
        return m.BufferRef(chunk.number, offset, size, lease)


@dataclass
class Settler:
    """A tensor that has come before.

    Attributes:
        tensor: weakly.
        home: number of what is held of the arena, once it lives there; chunk and offset of that.
        storage: keeps what is there while the tensor is.
    """

    tensor: weakref.ref[Any]
    home: tuple[int, Chunk, int] | None = None
    storage: Any = field(default=None, repr=False)


class Settlers:
    """Tensors that live in an arena, since they came more than once.

    The tensor stays the object that it was and what it has changes place, which must not show: it
    moves only if nothing else is known to use its memory.
    """

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self._seen: dict[int, Settler] = {}
        self._lock = threading.Lock()

    def place(self, tensor: Any, size: int) -> m.BufferRef | None:
        """Where a tensor lives, if it does."""
        if size < SETTLE_BYTES or not _settles(tensor) or not self._lock.acquire(blocking=False):
            return None
        try:
            settler = self._known(tensor)
            if settler is None:
                return None
            home = settler.home or self._settle(settler, tensor, size)
            if home is None:
                return None
            number, chunk, offset = home
            return m.BufferRef(chunk.number, offset, size, self.arena.again(number))
        finally:
            self._lock.release()

    def _known(self, tensor: Any) -> Settler | None:
        """None for one that comes for the first time, or that somebody gave other memory since."""
        key, seen = id(tensor), self._seen
        found = seen.get(key)
        if (
            found is not None
            and found.tensor() is tensor
            and (found.storage is None or found.storage.data_ptr() == tensor.data_ptr())
        ):
            return found
        seen[key] = Settler(weakref.ref(tensor, lambda ref: _gone(seen, key, ref)))
        return None

    def _settle(self, settler: Settler, tensor: Any, size: int) -> tuple[int, Chunk, int] | None:
        """Move it; None if it has to stay where it is."""
        room = self.arena.quota // SETTLERS_PART - self.arena.held
        if size > room or not _alone(tensor, size):
            return None
        try:
            chunk, offset, lease = self.arena.lease(size)
        except QuotaError:
            return None
        if not ours_alone(chunk):
            self.arena.give_back(lease)
            return None
        self.arena.hold(lease)
        buffer = window(chunk.memory, offset, size)
        weakref.finalize(buffer, self.arena.let_go, lease).atexit = False
        warm().linger(tensor.untyped_storage(), size)  # another thread may be reading
        _move(tensor, buffer)
        settler.home, settler.storage = (lease, chunk, offset), tensor.untyped_storage()
        return settler.home


def _gone(seen: dict[int, Settler], key: int, ref: weakref.ref[Any]) -> None:
    """Forget a tensor, unless another one has its number already."""
    found = seen.get(key)
    if found is not None and found.tensor is ref:
        del seen[key]


def _settles(tensor: Any) -> bool:
    """A plain tensor on the CPU, and neither a parameter nor a part of a graph."""
    torch = sys.modules.get("torch")
    return torch is not None and type(tensor) is torch.Tensor and not tensor.requires_grad


def _alone(tensor: Any, size: int) -> bool:
    """True if the memory is all this tensor's, and nothing else is known to use it.

    NumPy, DLPack and such make a storage that cannot be resized.
    """
    import torch

    storage = tensor.untyped_storage()
    return (
        storage.nbytes() == size
        and storage.resizable()
        and not storage.is_shared()
        and _users(storage) == _fresh_users()
        and not (torch.cuda.is_initialized() and tensor.is_pinned())
    )


def _users(storage: Any) -> tuple[int, int]:
    """How many refer to a storage: tensors such as views, and Python."""
    import torch

    count = getattr(torch._C, "_storage_Use_Count", None)
    return (-1 if count is None else count(storage._cdata), sys.getrefcount(storage))


@functools.cache
def _fresh_users() -> tuple[int, int]:
    """That of a tensor that nobody else has, which differs between versions of torch."""
    import torch

    tensor = torch.empty(1)
    storage = tensor.untyped_storage()
    found = _users(storage)
    return found if found[0] > 0 else (0, 0)


def _move(tensor: Any, buffer: Any) -> None:
    """Copy it there, and have it there."""
    import torch

    with torch.inference_mode(tensor.is_inference()):
        there = torch.frombuffer(buffer, dtype=tensor.dtype, count=tensor.numel())
        tensor.data = there.reshape(tensor.shape).copy_(tensor)


class Borrower:
    """The worker's way to what the host has put down: private mappings, given back by themselves.

    What the worker changes in them it changes for itself alone.
    """

    def __init__(self, handover: Handover, give_back: Callable[[int], None]) -> None:
        self._handover, self._give_back = handover, give_back

    def get(self, place: m.BufferRef) -> mmap.mmap:
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
