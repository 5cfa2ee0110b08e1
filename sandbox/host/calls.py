"""Calls of a worker that have not ended, and what it asks while it runs them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..protocol import messages as m
from ..protocol.exceptions import kind_of, refusal
from ..protocol.shared_memory import QuotaError
from .object_table import WorkerDied

if TYPE_CHECKING:
    from .process import Process

SLICE_SECONDS = 0.1
"""How often it is judged whether a call goes on."""
GRACE_SECONDS = 5.0
"""After a call was cancelled, until its process is ended."""
INBOX_FRAMES, INBOX_BYTES = 10_000, m.FRAME_BYTES
"""What may wait for one call: its threads ask one question at a time, each."""


@dataclass
class Pending:
    """A call that has not ended.

    Attributes:
        call: what was sent.
        inbox: frames and their sizes, for whoever waits for it.
        told: what to do with events.
        late: progress that came too soon after the last.
        running: whether the worker has it, and has not told of its end.
    """

    call: m.Call
    told: Callable[[str, Any], None] | None
    inbox: deque[tuple[Any, int]] = field(default_factory=deque)
    late: m.Event | None = None
    running: bool = False
    _came: int = 0
    _went: int = 0
    _judged: float = field(default_factory=time.monotonic)

    def room(self, size: int) -> bool:
        """Whether so many bytes more may wait; there is always room for one frame."""
        waiting = self._came - self._went
        return not waiting or (len(self.inbox) < INBOX_FRAMES and waiting + size <= INBOX_BYTES)

    def put(self, frame: Any, size: int) -> None:
        """Called by who reads, so each count is one thread's."""
        self._came += size
        self.inbox.append((frame, size))

    def take(self) -> tuple[Any, int]:
        """Called by who waits."""
        frame, size = self.inbox.popleft()
        self._went += size
        return frame, size

    def due(self, now: float) -> bool:
        """Whether it is time to judge; then it is not for a while."""
        if now - self._judged < SLICE_SECONDS:
            return False
        self._judged = now
        return True


class Calls:
    """By number; true while there is one."""

    def __init__(self) -> None:
        self._pending: dict[int, Pending] = {}
        self._number = 0
        self._lock = threading.Lock()

    def open(self, call: m.Call, told: Callable[[str, Any], None] | None) -> Pending:
        """A call that is about to be sent gets its number."""
        with self._lock:
            self._number += 1
            call.number = self._number
        pending = self._pending[call.number] = Pending(call, told)
        return pending

    def close(self, call: m.Call) -> None:
        """Nobody waits for it any more."""
        self._pending.pop(call.number, None)

    def of(self, number: int) -> Pending | None:
        """The call with that number, if it has not ended."""
        return self._pending.get(number)

    def __bool__(self) -> bool:
        return bool(self._pending)


class Questions:
    """What a worker asks, answered in the thread that waits for its call.

    Args:
        process: the worker.
        answer: ``(process, target object or None, name, arguments, bytes of the question)``.
    """

    def __init__(
        self, process: Process, answer: Callable[[Process, Any, str, Any, int], Any]
    ) -> None:
        self._process, self._answer = process, answer
        self._asking = threading.local()
        self._open: list[int] = []

    @property
    def innermost(self) -> int:
        """The question that a call back belongs inside: this thread's, else the last; or 0."""
        return getattr(self._asking, "number", 0) or (self._open or [0])[-1]

    def answer(self, question: m.HostRequest, size: int) -> m.HostResponse:
        """Do what is asked; the worker is told what went wrong, unless it has ended by that.

        Args:
            size: of the question, in bytes.
        """
        process = self._process
        had = process.held.bytes
        arguments = process.unpack(question.arguments, process.held)
        target = None
        if question.target is not None:
            target = process.trusted(process.objects.find, question.target.number)
        before = getattr(self._asking, "number", 0)
        self._asking.number = question.number
        self._open.append(question.number)
        try:
            held = process.held.bytes
            if held > max(had, process.quota):  # what brings nothing may be what ends it
                raise QuotaError(f"the host keeps {held} > {process.quota} bytes for this pack")
            if question.target is None and question.name == "arena":
                value: Any = process.lend(int(arguments[0]))
            else:
                value = self._answer(process, target, question.name, arguments, size)
            return m.HostResponse(question.number, process.codec.pack(value))
        except WorkerDied:
            raise
        except BaseException as error:
            # An interrupt of ComfyUI, no Exception in newer ones: the worker waits for an answer.
            if not isinstance(error, Exception) and kind_of(error) != "interrupted":
                raise
            return m.HostResponse(question.number, error=refusal(error))
        finally:
            self._asking.number = before
            self._open.remove(question.number)
