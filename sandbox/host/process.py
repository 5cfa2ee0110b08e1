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
from typing import TYPE_CHECKING, Any

import msgspec

from ...errors import Said
from ..protocol import messages as m
from ..protocol.codec import Codec, ValueTroubleError
from ..protocol.exceptions import refusal
from ..protocol.tensor_transfer import Handover
from ..web.events import Asides, TokenBucket, tell
from .arenas import Arenas
from .calls import GRACE_SECONDS, SLICE_SECONDS, Calls, Pending, Questions
from .frames_in import Crash, Incoming
from .frames_out import Outgoing
from .inbound import Arriving, Held, leases
from .log_capture import clean
from .object_table import Callback, Handle, HostObjects, WorkerDied, WorkerRaised
from .raised import received
from .template_client import Parent

if TYPE_CHECKING:
    from .log_capture import Output

PATIENCE_SECONDS = 10
"""For one part of a message, or a descriptor."""
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
        answer: answers a question: ``(process, target object or None, name, arguments, bytes of
            the question)``.
        quota: bytes that each side may have waiting for the other, and that the host keeps of what
            the worker has asked it to do.
        asides: has room for events that belong to no call.
        around: what confines it from outside, as in its own report.
    """

    def __init__(
        self,
        name: str,
        parent: Parent,
        begin: m.Begin,
        output: Output,
        answer: Callable[[Process, Any, str, Any, int], Any],
        quota: int,
        asides: Asides,
        around: dict[str, dict[str, str]] | None = None,
    ) -> None:
        self.name, self.parent, self.output = name, parent, output
        self._tail = output.begin()
        self._asides, self._around = asides, around or {}
        self.codec = Codec(self)
        self._calls = Calls()
        self._reading = threading.Lock()
        self._pace = TokenBucket()
        self._forgotten: deque[int] = deque()
        self._dropped: deque[int] = deque()
        self._questions = Questions(self, answer)
        self.objects, self.held, self.quota = HostObjects(), Held(), quota
        self.report: dict[str, dict[str, str]] | None = None
        self.heard = time.monotonic()
        self.dead: str | None = None
        self.handles = self.calls = 0
        self.first: int | None = None
        self.status: int | None = None
        ours, theirs = socket.socketpair()
        fds_ours, fds_theirs = socket.socketpair()
        patience = struct.pack("ll", PATIENCE_SECONDS, 0)
        for one in (ours, fds_ours):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
        self.connection = ours
        self.handover = Handover(fds_ours)
        self._incoming, self._outgoing = Incoming(ours, fds_ours), Outgoing(ours)
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

    def put(self, view: Any, size: int) -> m.BufferRef:
        """See :class:`values.Port`."""
        return self._arenas.put(view, size)

    def get(self, place: m.BufferRef) -> Any:
        """A copy of what lies there, since the worker can still write there."""
        return self._arenas.copy(place)

    def foreign(self, value: Any) -> m.WorkerRef | m.HostRef:
        """See :class:`values.Port`."""
        if isinstance(value, Handle):
            if value.process is not self:
                raise ValueTroubleError(
                    f"{value!r} is of use to nodes of that pack only, not of {self.name}"
                    + (", which was restarted since" if value.process.name == self.name else "")
                )
            return m.WorkerRef(value.number, value.name)
        return self.objects.keep(value)

    def native(self, value: m.WorkerRef | m.HostRef) -> Any:
        """See :class:`values.Port`."""
        if isinstance(value, m.HostRef):
            return self.objects.find(value.number)
        self.handles += 1
        return (Callback if value.calls else Handle)(self, value.number, value.name)

    def unpack(self, value: m.Value, held: Held | None = None) -> Any:
        """What a worker has sent, as values; it is ended if that makes no sense.

        Args:
            held: counts what is copied for it.
        """
        arriving = Arriving(self, held)
        found = self.trusted(arriving.unpack, value)
        self._give_back(arriving.leases)
        return found

    def _give_back(self, found: list[int]) -> None:
        if found:
            self._send(m.Returned(found))

    def _hand_over(self, number: int, fd: int) -> None:
        try:
            self.handover.send(number, fd)
        except OSError:
            self.kill()
            raise WorkerDied(self.end()) from None

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
            self._outgoing.frame(data)
        except TimeoutError as error:
            self.kill(Said(str(error), "它不再读取消息"))
            raise WorkerDied(self.end()) from None
        except OSError:
            self.kill()
            raise WorkerDied(self.end()) from None

    def _tidy(self) -> None:
        objects = [(self._forgotten.popleft(), 1) for _ in range(len(self._forgotten))]
        instances = [self._dropped.popleft() for _ in range(len(self._dropped))]
        if objects or instances:
            self._send(m.Forget(objects, instances))

    def call(
        self,
        call: m.Call,
        told: Callable[[str, Any], None] | None = None,
        check: Callable[[Process, float], None] | None = None,
    ) -> Any:
        """Run something in the worker and wait for it; its value.

        Args:
            call: what; its number is set here.
            told: gets events while it runs.
            check: called every tenth of a second with seconds of silence; raises to give up.

        Raises:
            WorkerDied: the worker ended, or was ended for what it sent.
            WorkerRaised: the call failed inside.
        """
        if self.dead is not None:
            raise WorkerDied(self.dead)
        pending = self._calls.open(call, told)
        try:
            self._tidy()
            self._send(call)
            pending.running = True
            while True:
                frame, size = self._next(pending, check)
                if isinstance(frame, m.HostRequest):
                    self._answer(frame, size)
                elif isinstance(frame, m.Event):
                    self._event(pending, frame)
                else:
                    pending.running = False
                    return self._result(pending, frame)
        except (WorkerDied, WorkerRaised, TimeoutError):
            raise
        except BaseException:
            if pending.running:
                self._abandon(pending)
            raise
        finally:
            self._calls.close(call)
            self.calls += 1

    def _answer(self, question: m.HostRequest, size: int) -> None:
        answer = self._questions.answer(question, size)
        try:
            self._send(answer)
        except ValueTroubleError as error:
            self._send(m.HostResponse(question.number, error=refusal(error)))

    def _result(self, pending: Pending, frame: m.Done | m.Failed) -> Any:
        if pending.late is not None:  # the last progress is told, however fast it came
            try:
                self._tell(pending, pending.late)
            except BaseException:
                self._give_back(leases(frame))
                raise
        if isinstance(frame, m.Failed):
            raise WorkerRaised(received(frame.trouble))
        return self.unpack(frame.value)

    def _abandon(self, pending: Pending) -> None:
        """Have a call ended that nobody waits for any more: ComfyUI has been interrupted while it
        was told of the progress, for example."""
        until = time.monotonic() + GRACE_SECONDS
        with contextlib.suppress(WorkerDied):
            self.cancel(pending.call.number)
            while time.monotonic() < until:
                frame = self._next(pending, None, SLICE_SECONDS)[0]
                if isinstance(frame, m.Done | m.Failed):
                    self._give_back(leases(frame))
                    return
                if isinstance(frame, m.HostRequest):
                    self._send(
                        m.HostResponse(frame.number, error=m.ErrorInfo("interrupted", "", ""))
                    )
                elif frame is not None:
                    self._give_back(leases(frame))
            self.kill("interrupted")

    def call_object(
        self, call: m.Call, args: Any, kwargs: Any, check: Callable[[Process, float], None]
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
        except WorkerDied:
            raise
        except Exception as error:
            raise self._bad(error) from error

    def _bad(self, error: Exception) -> WorkerDied:
        why = clean(str(error))[:500]
        found = Said(f"bad message: {why}", f"无法理解的消息：{why}")
        self.kill(found)
        return WorkerDied(found)

    def _next(
        self,
        pending: Pending,
        check: Callable[[Process, float], None] | None,
        seconds: float = float("inf"),
    ) -> tuple[Any, int]:
        """The next frame of a call and its bytes; None if none comes in so many seconds."""
        until = time.monotonic() + seconds
        while (now := time.monotonic()) < until:
            if check is not None and pending.due(now):  # also if frames never stop coming
                check(self, now - self.heard)
            if pending.inbox:
                return pending.take()
            if self.dead is not None:  # another call has seen why
                raise WorkerDied(self.dead)
            if self._reading.acquire(timeout=SLICE_SECONDS):
                try:
                    quiet = not pending.inbox and not self._read(SLICE_SECONDS)
                finally:
                    self._reading.release()
                if quiet and pending.late is not None:
                    late, pending.late = pending.late, None
                    return late, 0
        return None, 0

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
            raise WorkerDied(self.end()) from None
        if data is None:
            return False
        self.heard = time.monotonic()
        try:
            frame = m.from_worker(data)
        except (msgspec.DecodeError, RecursionError) as error:
            raise self._bad(error) from error
        self._sort(frame, len(data))
        return True

    def _fault(self, crash: Crash) -> WorkerDied:
        """It has told of its end; only which signal it was may still be the kernel's to say."""
        if crash.unnamed:
            self.parent.end_of(self.token, UNNAMED_SECONDS)
        self.kill(crash.signal)
        self.output.add(crash.told)
        return WorkerDied(self.end())

    def _sort(self, frame: Any, size: int) -> None:
        if isinstance(frame, m.Done | m.Failed | m.HostRequest | m.Event):
            number = frame.number if isinstance(frame, m.Done | m.Failed) else frame.inside
            pending = self._calls.of(number)
            if pending is not None:
                self._deliver(pending, frame, size)
            elif isinstance(frame, m.HostRequest):
                self._send(
                    m.HostResponse(frame.number, error=m.ErrorInfo("error", "", "no such call"))
                )
            elif isinstance(frame, m.Event):
                self._aside(frame)
            else:  # nobody waited so long
                self._give_back(leases(frame))
        elif isinstance(frame, m.Forget):
            self.objects.forget(frame.objects)
        elif isinstance(frame, m.Returned):
            self._arenas.give_back(frame.leases)
        elif isinstance(frame, m.Dropped):
            self._arenas.drop(frame.arenas)
        elif isinstance(frame, m.Ready):
            self.report = {**frame.report, **self._around}

    def _deliver(self, pending: Pending, frame: Any, size: int) -> None:
        """To whoever waits for that call, who may be busy with an answer."""
        if pending.room(size):
            pending.put(frame, size)
        elif isinstance(frame, m.Event):
            self._give_back(leases(frame))
        else:
            raise self._bad(ValueError("more than anybody could answer"))

    def _event(self, pending: Pending, event: m.Event) -> None:
        """Of progress that comes faster than a page can show it, the newest is what counts."""
        if event.kind != "progress":
            if pending.told is not None and self._pace.room():
                self._tell(pending, event)
            else:
                self._give_back(leases(event))
            return
        if pending.late is not None:
            self._give_back(leases(pending.late))
            pending.late = None
        if self._pace.room():
            self._tell(pending, event)
        else:
            pending.late = event

    def _tell(self, pending: Pending, event: m.Event) -> None:
        value = self.unpack(event.value)
        if pending.told is not None:
            pending.told(event.kind, value)

    def _aside(self, event: m.Event) -> None:
        """From a thread of the pack's own."""
        if event.kind == "send" and self._asides.room():
            tell(event.kind, self.unpack(event.value), None)
        else:
            self._give_back(leases(event))

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
            except WorkerDied:
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
        from .template_client import words

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
