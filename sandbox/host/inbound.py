"""One message of a worker on its way to become values: what it may cost the host."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from ..protocol import messages as m
from ..protocol.codec import Codec, ValueTroubleError

if TYPE_CHECKING:
    from .process import Process

MOST_HANDLES = 100_000
"""Objects of one worker that the host may have."""
MOST_KEYS = 4096
"""Keys and members of one message that are neither text nor plain numbers: whoever chooses those
can have them collide, and each is then compared with all others."""


class Held:
    """Bytes that were copied for a worker and that something still refers to."""

    def __init__(self) -> None:
        self._bytes = 0
        self._gone: deque[int] = deque()
        self._lock = threading.Lock()

    def add(self, buffer: Any, size: int) -> None:
        """Count it until it goes."""
        weakref.finalize(buffer, self._gone.append, size).atexit = False  # which may be anywhere
        with self._lock:
            self._bytes += size

    @property
    def bytes(self) -> int:
        """What there is now."""
        with self._lock:
            while self._gone:
                self._bytes -= self._gone.popleft()
            return self._bytes


class Arriving:
    """The codec's port for one message.

    What lies at one place is copied once, however often the message names it: a tensor that a list
    has twice is one tensor there, and is one here.

    Args:
        process: whose message it is.
        held: counts the copies as long as there are any.

    Attributes:
        leases: to be given back.
    """

    def __init__(self, process: Process, held: Held | None = None) -> None:
        self._process, self._held = process, held
        self.leases: list[int] = []
        self._copies: dict[tuple[int, int, int], Any] = {}
        self._bytes = 0

    def unpack(self, value: m.Value) -> Any:
        """The value; no cycle keeps what was copied for it."""
        return Codec(self, MOST_KEYS).unpack(value)

    def get(self, place: m.BufferRef) -> Any:
        """See :class:`values.Port`.

        Raises:
            ValueTroubleError: the message names more than an arena can have.
        """
        self.leases.append(place.lease)
        key = (place.arena, place.offset, place.size)
        found = self._copies.get(key)
        if found is None:
            self._bytes += max(place.size, 0)
            if self._bytes > self._process.quota:
                raise ValueTroubleError(f"{self._bytes} bytes, at most {self._process.quota}")
            found = self._copies[key] = self._process.get(place)
            if self._held is not None:
                self._held.add(found, place.size)
        return found

    def native(self, value: m.WorkerRef | m.HostRef) -> Any:
        """See :class:`values.Port`.

        Raises:
            ValueTroubleError: the host has too many of them.
        """
        if self._process.handles >= MOST_HANDLES:
            raise ValueTroubleError(f"more than {MOST_HANDLES} objects")
        return self._process.native(value)

    def put(self, view: Any, size: int) -> m.BufferRef:
        """See :class:`values.Port`."""
        return self._process.put(view, size)

    def foreign(self, value: Any) -> m.WorkerRef | m.HostRef:
        """See :class:`values.Port`."""
        return self._process.foreign(value)


def leases(frame: Any) -> list[int]:
    """Leases in a message that nobody will look at."""
    found, open_ends = [], [frame]
    while open_ends:
        one = open_ends.pop()
        if isinstance(one, m.BufferRef):
            found.append(one.lease)
        elif isinstance(one, list | tuple):
            open_ends += one
        elif isinstance(one, msgspec.Struct):
            open_ends += [getattr(one, name) for name in one.__struct_fields__]
    return found
