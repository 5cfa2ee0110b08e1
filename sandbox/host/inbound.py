"""Deserialization of one message of a worker, within limits on what it costs the host."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from typing import Any, Protocol

import msgspec

from ..protocol import messages as m
from ..protocol.codec import Codec, Port
from ..protocol.exceptions import CodecError

MAX_HANDLES = 100_000
"""Objects of one worker that the host may have handles for."""
MAX_UNSAFE_KEYS = 4096
"""Keys and members of one message that are neither text nor plain numbers. The sender can choose
them so that their hashes are equal, and each is then compared with all others."""


class CopiedBytes:
    """Bytes that were copied for a worker and that something still refers to."""

    def __init__(self) -> None:
        self._total = 0
        self._freed: deque[int] = deque()
        self._lock = threading.Lock()

    def add(self, buffer: Any, size: int) -> None:
        """Count a buffer until it is freed."""
        # The finalizer may run anywhere, so it takes no lock.
        weakref.finalize(buffer, self._freed.append, size).atexit = False
        with self._lock:
            self._total += size

    @property
    def total(self) -> int:
        """The current number of bytes."""
        with self._lock:
            while self._freed:
                self._total -= self._freed.popleft()
            return self._total


class WorkerPort(Port, Protocol):
    """The host's port for one worker."""

    @property
    def quota(self) -> int:
        """Bytes that the worker may have in shared memory."""
        ...

    @property
    def handle_count(self) -> int:
        """Objects of the worker that the host has handles for."""
        ...


class InboundPort:
    """The codec's port for one message of a worker.

    Each buffer is copied once, however often the message refers to it: a tensor that a list
    contains twice is one tensor in the worker, and is one here.

    Args:
        port: of the worker.
        copied: counts the copies while there are any.

    Attributes:
        leases: to return after the message was read.
    """

    def __init__(self, port: WorkerPort, copied: CopiedBytes | None = None) -> None:
        self.leases: list[int] = []
        self._port = port
        self._copied = copied
        self._copies: dict[tuple[int, int, int], Any] = {}
        self._bytes = 0

    def unpack(self, value: m.Value) -> Any:
        """Return the value. No reference cycle keeps the copies of its buffers alive."""
        return Codec(self, MAX_UNSAFE_KEYS).unpack(value)

    def get(self, buffer: m.BufferRef) -> Any:
        """Return a copy of a buffer.

        Raises:
            CodecError: the message refers to more bytes than an arena can have.
        """
        self.leases.append(buffer.lease)
        key = (buffer.chunk, buffer.offset, buffer.size)
        copy = self._copies.get(key)
        if copy is None:
            self._bytes += max(buffer.size, 0)
            if self._bytes > self._port.quota:
                raise CodecError(f"{self._bytes} bytes, at most {self._port.quota}")
            copy = self._copies[key] = self._port.get(buffer)
            if self._copied is not None:
                self._copied.add(copy, buffer.size)
        return copy

    def dereference(self, reference: m.WorkerRef | m.HostRef) -> Any:
        """Return the object of a reference.

        Raises:
            CodecError: the host has too many handles.
        """
        if self._port.handle_count >= MAX_HANDLES:
            raise CodecError(f"more than {MAX_HANDLES} objects")
        return self._port.dereference(reference)

    def put(self, view: Any, size: int) -> m.BufferRef:
        """See :class:`codec.Port`."""
        return self._port.put(view, size)

    def reference(self, value: Any) -> m.WorkerRef | m.HostRef:
        """See :class:`codec.Port`."""
        return self._port.reference(value)


def leases_in(frame: Any) -> list[int]:
    """Return the leases in a message that nobody will read."""
    leases: list[int] = []
    remaining = [frame]
    while remaining:
        part = remaining.pop()
        if isinstance(part, m.BufferRef):
            leases.append(part.lease)
        elif isinstance(part, list | tuple):
            remaining += part
        elif isinstance(part, msgspec.Struct):
            remaining += [getattr(part, name) for name in part.__struct_fields__]
    return leases
