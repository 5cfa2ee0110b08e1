"""One living worker, seen from the host: calls, what it asks for meanwhile, and its end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import msgspec

from . import messages as m
from .arenas import Arenas
from .calls import Calls, Pending, Questions
from .events import Asides, tell
from .handles import Callback, Died, Handle, HostObjects, Remote
from .incoming import Crash, Incoming
from .memory import Handover
from .parent import Parent
from .values import Codec, ValueTroubleError

if TYPE_CHECKING:
    from .output import Output

SLICE_SECONDS = 0.1
SEND_SECONDS = 10
"""A worker that reads nothing for so long is given up."""
DRAIN_SECONDS = 0.1
END_SECONDS = 2.0
"""How long a worker that has hung up may take to end by itself."""
REAP_SECONDS = 30.0
"""How long the template may take to tell: on a busy machine, and with much left behind."""
UNNAMED_SECONDS = 1.0


class Process:
    """A worker.

    Args:
        name: of the pack.
        parent: the template that forks it.
        begin: its first frame.
        output: what it prints.
        answer: answers a question: ``(target object or None, name, arguments)``.
        quota: bytes that each side may have waiting for the other.
        asides: has room for events that belong to no call.
        around: what confines it from outside, as in its own report.
    """

    def __init__(
        self,
        name: str,
        parent: Parent,
        begin: m.Begin,
        output: Output,
        answer: Callable[[Process, Any, str, Any], Any],
        quota: int,
        asides: Asides,
        around: dict[str, dict[str, str]] | None = None,
    ) -> None:
        self.name, self.parent, self.output = name, parent, output
        self._tail = output.begin()
        self._asides, self._around = asides, around or {}
        self.codec = Codec(self)
        self._calls = Calls()
        self._sending, self._reading = threading.Lock(), threading.Lock()
        self._forgotten: deque[int] = deque()
        self._dropped: deque[int] = deque()
        self._questions = Questions(self, answer)
        self.objects = HostObjects()
        self.report: dict[str, dict[str, str]] | None = None
        self.heard = time.monotonic()
        self.dead: str | None = None
        self.handles = self.calls = 0
        self.first: int | None = None
        self.status: int | None = None
        ours, theirs = socket.socketpair()
        fds_ours, fds_theirs = socket.socketpair()
        patience = struct.pack("ll", SEND_SECONDS, 0)
        for one in (ours, fds_ours):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
        self.connection = Connection(ours.detach())
        self.handover = Handover(fds_ours)
        self._incoming = Incoming(self.connection, fds_ours)
        self._arenas = Arenas(quota, self._hand_over)
        try:
            with theirs, fds_theirs:
                fds = (theirs.fileno(), fds_theirs.fileno(), output.writing)
                self.token, self.pid = parent.spawn(fds, self._ended)
            self._send_bytes(m.encode(begin))
        except BaseException:
            self.connection.close()
            self.handover.close()
            raise

    # The port of the codec.

    def put(self, view: Any, size: int) -> m.Place:
        """See :class:`values.Port`."""
        return self._arenas.put(view, size)

    def get(self, place: m.Place) -> Any:
        """See :class:`values.Port`: a copy, since the worker can still write there."""
        copy = self._arenas.copy(place)
        self._send(m.Returned([place.lease]))
        return copy

    def foreign(self, value: Any) -> m.Theirs | m.Ours:
        """See :class:`values.Port`."""
        if isinstance(value, Handle):
            if value.process is not self:
                raise ValueTroubleError(
                    f"{value!r} is of use to nodes of that pack only, not of {self.name}"
                    + (", which was restarted since" if value.process.name == self.name else "")
                )
            return m.Theirs(value.number, value.name)
        return self.objects.keep(value)

    def native(self, value: m.Theirs | m.Ours) -> Any:
        """See :class:`values.Port`."""
        if isinstance(value, m.Ours):
            return self.objects.find(value.number)
        self.handles += 1
        return (Callback if value.calls else Handle)(self, value.number, value.name)

    def _hand_over(self, number: int, fd: int) -> None:
        try:
            self.handover.send(number, fd)
        except OSError:
            self.kill()
            raise Died(self.end()) from None

    def lend(self, size: int) -> int:
        """See :meth:`arenas.Arenas.lend`."""
        return self._arenas.lend(size)

    def forget(self, number: int) -> None:
        """A handle is gone; the worker hears of it with the next call."""
        self.handles -= 1
        self._forgotten.append(number)

    def drop(self, instance: int) -> None:
        """An instance of a node is gone; the worker hears of it with the next call."""
        self._dropped.append(instance)

    # Talking.

    def _send(self, frame: Any) -> None:
        data = m.encode(frame)
        if len(data) > m.FRAME_BYTES:
            raise ValueTroubleError(f"{len(data)} bytes are more than {m.FRAME_BYTES}")
        self._send_bytes(data)

    def _send_bytes(self, data: bytes) -> None:
        try:
            with self._sending:
                self.connection.send_bytes(data)
        except OSError:
            self.kill()
            raise Died(self.end()) from None

    def _tidy(self) -> None:
        objects = [(self._forgotten.popleft(), 1) for _ in range(len(self._forgotten))]
        instances = [self._dropped.popleft() for _ in range(len(self._dropped))]
        if objects or instances:
            self._send(m.Forget(objects, instances))

    def call(
        self,
        call: m.Call,
        told: Callable[[str, Any], None] | None = None,
        check: Callable[[Process, float, bool], None] | None = None,
    ) -> Any:
        """Run something in the worker and wait for it; its value.

        Args:
            call: what; its number is set here.
            told: gets events while it runs.
            check: called every tenth of a second with seconds of silence and whether it has begun
                to be cancelled; raises to give up.

        Raises:
            Died: the worker ended, or was ended for what it sent.
            Remote: the call failed inside.
        """
        if self.dead is not None:
            raise Died(self.dead)
        pending = self._calls.open(call, told)
        try:
            self._tidy()
            self._send(call)
            while True:
                frame = self._next(pending, check)
                if isinstance(frame, m.Question):
                    self._send(self._questions.answer(frame))
                elif isinstance(frame, m.Failed):
                    raise Remote(frame.trouble)
                else:
                    return self.trusted(self.codec.unpack, frame.value)
        finally:
            self._calls.close(call)
            self.calls += 1

    def call_object(
        self, call: m.Call, args: Any, kwargs: Any, check: Callable[[Process, float, bool], None]
    ) -> Any:
        """Call a function that stays in the worker: in a question that it waits on, if any."""
        call.inside = self._questions.innermost
        call.arguments = self.codec.pack((args, kwargs))
        return self.call(call, None, check)

    def cancel(self, number: int) -> None:
        """Ask the worker to stop a call."""
        self._send(m.Cancel(number))

    def trusted(self, function: Callable[[Any], Any], value: Any) -> Any:
        """Whatever is wrong with what a worker sent ends it."""
        try:
            return function(value)
        except Died:
            raise
        except Exception as error:
            raise self._bad(error) from error

    def _bad(self, error: Exception) -> Died:
        found = f"bad message: {str(error)[:500]}"
        self.kill(found)
        return Died(found)

    def _next(self, pending: Pending, check: Callable[[Process, float, bool], None] | None) -> Any:
        while True:
            if pending.inbox:
                return pending.inbox.popleft()
            if self._reading.acquire(timeout=SLICE_SECONDS):
                try:
                    if pending.inbox:
                        continue
                    self._read(SLICE_SECONDS)
                finally:
                    self._reading.release()
            if not pending.inbox and check is not None:
                check(self, time.monotonic() - self.heard, False)

    def _read(self, seconds: float) -> bool:
        """Take one frame, if there is one, to where it belongs."""
        try:
            data = self._incoming.frame(seconds)
        except Crash as crash:
            raise self._fault(crash) from None
        except (BlockingIOError, ValueError) as error:
            raise self._bad(error) from None
        except (EOFError, OSError):
            self.output.add(self._incoming.report(0))  # it may have told why, and nobody has looked
            raise Died(self.end()) from None
        if data is None:
            return False
        self.heard = time.monotonic()
        try:
            frame = m.from_worker(data)
        except (msgspec.DecodeError, RecursionError) as error:
            raise self._bad(error) from error
        self._sort(frame)
        return True

    def _fault(self, crash: Crash) -> Died:
        """It has told of its end; only which signal it was may still be the kernel's to say."""
        if crash.unnamed:
            self.parent.end_of(self.token, UNNAMED_SECONDS)
        self.kill(crash.signal)
        self.output.add(crash.told)
        return Died(self.end())

    def _sort(self, frame: Any) -> None:
        if isinstance(frame, m.Done | m.Failed | m.Question | m.Event):
            number = frame.number if isinstance(frame, m.Done | m.Failed) else frame.inside
            pending = self._calls.of(number)
            if isinstance(frame, m.Event):
                self._tell(frame, pending)
            elif pending is not None:
                pending.inbox.append(frame)
            elif isinstance(frame, m.Question):
                self._send(m.Answer(frame.number, error=m.Trouble("error", "", "no such call")))
        elif isinstance(frame, m.Forget):
            self.objects.forget(frame.objects)
        elif isinstance(frame, m.Returned):
            self._arenas.give_back(frame.leases)
        elif isinstance(frame, m.Dropped):
            self._arenas.drop(frame.arenas)
        elif isinstance(frame, m.Ready):
            self.report = {**frame.report, **self._around}

    def _tell(self, event: m.Event, pending: Pending | None) -> None:
        if pending is not None:
            value = self.trusted(self.codec.unpack, event.value)
            if pending.told is not None:
                pending.told(event.kind, value)
        elif event.kind == "send" and self._asides.room():  # from a thread of the pack's own
            tell(event.kind, self.trusted(self.codec.unpack, event.value), None)

    @property
    def kept(self) -> int:
        """Bytes of this process's arenas that wait for their next use."""
        return self._arenas.kept

    def trim(self, seconds: float) -> None:
        """Give back the memory of arenas that were empty for so long."""
        if gone := self._arenas.trim(seconds):
            self._send(m.Dropped(gone))

    def drain(self) -> None:
        """Read what came while nobody waited; others have their turn after a flood's share."""
        until = time.monotonic() + DRAIN_SECONDS
        if self.dead is None and not self._calls and self._reading.acquire(blocking=False):
            try:
                while self._read(0) and time.monotonic() < until:
                    pass
            except Died:
                pass
            except OSError:
                self.kill()
            finally:
                self._reading.release()

    # Its end.

    def _ended(self, status: int) -> None:
        self.status = status

    def end(self) -> str:
        """How it ended, in words, once the template has told."""
        from .parent import words

        if self.dead is None:
            status = self.parent.end_of(self.token, END_SECONDS)
            if status is None:  # an end that has begun stays what it is
                self.kill()
                status = self.parent.end_of(self.token, REAP_SECONDS)
            if self.dead is None:  # nobody had a reason to end it meanwhile
                self.dead = "?" if status is None else words(status)
        return self.dead

    def last(self) -> str:
        """Its last lines, whoever prints by now."""
        return self.output.last(self._tail)

    def kill(self, why: str | None = None) -> None:
        """End it at once."""
        if why is not None and self.dead is None:
            self.dead = why
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Forget everything about it; it is ended if it has not yet."""
        self.kill("stopped")
        self.parent.end_of(self.token, 5.0)
        self.connection.close()
        self.handover.close()
        self._arenas.close()

    @property
    def busy(self) -> bool:
        """True while a call is running."""
        return bool(self._calls)
