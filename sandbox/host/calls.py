"""Calls that a worker is running."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..protocol import messages as m

SLICE_SECONDS = 0.1
"""How often the limits of a call are checked."""
GRACE_SECONDS = 5.0
"""Time between the interruption of a call and the end of its process."""
INBOX_FRAMES = 10_000
"""Frames that may wait for one call: each of its threads sends one request at a time."""
INBOX_BYTES = m.FRAME_BYTES

OnEvent = Callable[[str, Any], None]
"""Called with kind and value of an event."""


@dataclass
class PendingCall:
    """A call that has not ended.

    Attributes:
        call: the message.
        on_event: called for each event, or None.
        inbox: frames and their sizes, for the thread that waits for the call.
        delayed_progress: progress that came too soon after the one before.
        running: whether the worker has the call, and has not reported its end.
    """

    call: m.Call
    on_event: OnEvent | None
    inbox: deque[tuple[Any, int]] = field(default_factory=deque)
    delayed_progress: m.Event | None = None
    running: bool = False
    _received_bytes: int = 0
    _taken_bytes: int = 0
    _checked: float = field(default_factory=time.monotonic)

    def has_room(self, size: int) -> bool:
        """Return whether a frame of that size may wait; the first one always may."""
        waiting = self._received_bytes - self._taken_bytes
        return not waiting or (len(self.inbox) < INBOX_FRAMES and waiting + size <= INBOX_BYTES)

    def put(self, frame: Any, size: int) -> None:
        """Add a frame; only the thread that reads from the worker calls this."""
        self._received_bytes += size
        self.inbox.append((frame, size))

    def take(self) -> tuple[Any, int]:
        """Remove the first frame; only the thread that waits for the call calls this."""
        frame, size = self.inbox.popleft()
        self._taken_bytes += size
        return frame, size

    def check_due(self, now: float) -> bool:
        """Return whether the limits have to be checked, at most once in :data:`SLICE_SECONDS`."""
        if now - self._checked < SLICE_SECONDS:
            return False
        self._checked = now
        return True


class PendingCalls:
    """The calls of one worker by number; true if there are any."""

    def __init__(self) -> None:
        self._pending: dict[int, PendingCall] = {}
        self._count = 0
        self._lock = threading.Lock()

    def open(self, call: m.Call, on_event: OnEvent | None) -> PendingCall:
        """Give a call its number before it is sent."""
        with self._lock:
            self._count += 1
            call.number = self._count
        pending = self._pending[call.number] = PendingCall(call, on_event)
        return pending

    def close(self, call: m.Call) -> None:
        """Remove a call."""
        self._pending.pop(call.number, None)

    def get(self, number: int) -> PendingCall | None:
        """Return the call with a number if it has not ended."""
        return self._pending.get(number)

    def __bool__(self) -> bool:
        return bool(self._pending)
