"""The conversation with one worker: calls, and the requests and events that come meanwhile."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

from ..protocol import messages as m
from ..protocol.error_info import host_error_info
from ..protocol.exceptions import CodecError, WorkerDied, WorkerRaised
from .call_deadline import Check
from .calls import GRACE_SECONDS, SLICE_SECONDS, OnEvent, PendingCall, PendingCalls
from .connection import WorkerConnection
from .event_relay import EventRelay
from .host_requests import HostRequests
from .inbound import CopiedBytes, InboundPort
from .object_exchange import ObjectExchange
from .object_table import HostObjects
from .pack_events import UnsolicitedEvents
from .process import WorkerProcess
from .raised import sanitized

DRAIN_SECONDS = 0.1

Answer = Callable[["WorkerSession", Any, str, Any, int], Any]
"""Called with session, target object or None, name, arguments and the request's size in bytes."""


class WorkerSession:
    """The conversation with a worker process.

    The thread that waits for a call also answers the worker's requests and delivers its events.
    Whichever thread waits reads frames for all: it puts those of other calls into their inboxes.

    Args:
        connection: to the worker.
        answer: carries out the worker's requests.
        quota: bytes that each side may have in shared memory, and that the host stores for the
            worker.
        unsolicited: limits the rate of events that belong to no call.
        outer_report: what confines the worker from outside, in the form of its own report.

    Attributes:
        process: of the worker.
        objects: objects and buffers of both sides.
        report: by which mechanisms the worker is confined, once it has reported.
        call_count: ended calls.
    """

    def __init__(
        self,
        connection: WorkerConnection,
        answer: Answer,
        quota: int,
        unsolicited: UnsolicitedEvents,
        outer_report: dict[str, dict[str, str]] | None = None,
    ) -> None:
        self.process: WorkerProcess = connection.process
        self.objects = ObjectExchange(self, quota, connection.send_descriptor)
        self.report: dict[str, dict[str, str]] | None = None
        self.call_count = 0
        self._connection = connection
        self._outer_report = outer_report or {}
        self._last_received = time.monotonic()
        self._calls = PendingCalls()
        self._events = EventRelay(unsolicited, self.unpack, connection.return_leases)
        self._requests = HostRequests(
            lambda *request: answer(self, *request),
            self.objects.arenas.lend,
            self.objects.codec.pack,
            self.objects.copied,
            quota,
        )

    # What others see of it.

    @property
    def name(self) -> str:
        """Name of the pack."""
        return self.process.name

    @property
    def quota(self) -> int:
        """Bytes that the host stores for the worker."""
        return self.objects.quota

    @property
    def host_objects(self) -> HostObjects:
        """The objects of the host that the worker refers to."""
        return self.objects.host_objects

    @property
    def busy(self) -> bool:
        """Whether a call is running."""
        return bool(self._calls)

    @property
    def idle_bytes(self) -> int:
        """Bytes of shared memory that nothing uses."""
        return self.objects.arenas.idle_bytes

    # Calls.

    def call(
        self, call: m.Call, on_event: OnEvent | None = None, check: Check | None = None
    ) -> Any:
        """Run a call in the worker and wait for its result.

        Args:
            call: the message; its number is set here.
            on_event: called for the events of the call.
            check: called every tenth of a second with the seconds of silence; raises to end the
                call.

        Raises:
            WorkerDied: the worker has ended, or was ended because of a message of it.
            WorkerRaised: the call has raised an exception.
        """
        if self.process.end_reason is not None:
            raise WorkerDied(self.process.end_reason)
        pending = self._calls.open(call, on_event)
        try:
            if (forgotten := self.objects.take_forgotten()) is not None:
                self._connection.send(forgotten)
            self._connection.send(call)
            pending.running = True
            return self._run(pending, check)
        except (WorkerDied, WorkerRaised, TimeoutError):
            raise
        except BaseException:
            if pending.running:
                self._abandon(pending)
            raise
        finally:
            self._calls.close(call)
            self.call_count += 1

    def call_object(self, call: m.Call, args: Any, kwargs: Any, check: Check) -> Any:
        """Call a function that stays in the worker, inside the request that it waits for."""
        call.inside = self._requests.innermost
        call.arguments = self.objects.codec.pack((args, kwargs))
        return self.call(call, None, check)

    def cancel(self, number: int) -> None:
        """Ask the worker to stop a call."""
        self._connection.send(m.Cancel(number))

    def forget(self, number: int) -> None:
        """Note that the host has no handle for an object any more."""
        self.objects.forget(number)

    def unpack(self, value: m.Value, copied: CopiedBytes | None = None) -> Any:
        """Deserialize a value of the worker; end the worker if the value is invalid.

        Args:
            value: of a message.
            copied: counts the bytes that are copied for it.
        """
        port = InboundPort(self.objects, copied)
        unpacked = self._connection.trusted(port.unpack, value)
        self._connection.return_leases(port.leases)
        return unpacked

    def drain(self) -> None:
        """Read frames that arrived while no call was running, for a limited time."""
        deadline = time.monotonic() + DRAIN_SECONDS
        if self.process.end_reason is not None or self.busy:
            return
        if not self._connection.reading.acquire(blocking=False):
            return
        try:
            while self._read(0) and time.monotonic() < deadline:
                pass
        except WorkerDied:
            pass
        except OSError:
            self.process.kill()
        finally:
            self._connection.reading.release()

    def trim(self, seconds: float) -> None:
        """Free chunks of shared memory that were empty for that many seconds."""
        if numbers := self.objects.arenas.trim(seconds):
            self._connection.send(m.Dropped(numbers))

    def close(self) -> None:
        """End the worker and free what belongs to it."""
        self._connection.close()
        self.objects.close()

    # The thread of a call.

    def _run(self, pending: PendingCall, check: Check | None) -> Any:
        while True:
            frame, size = self._next(pending, check)
            if isinstance(frame, m.HostRequest):
                self._respond(frame, size)
            elif isinstance(frame, m.Event):
                self._events.deliver(pending, frame)
            else:
                pending.running = False
                self._events.deliver_last_progress(pending, frame)
                if isinstance(frame, m.Failed):
                    raise WorkerRaised(sanitized(frame.error))
                return self.unpack(frame.value)

    def _respond(self, request: m.HostRequest, size: int) -> None:
        copied_before = self.objects.copied.total
        arguments = self.unpack(request.arguments, self.objects.copied)
        target = None
        if request.target is not None:
            target = self._connection.trusted(self.host_objects.find, request.target.number)
        response = self._requests.respond(request, target, arguments, size, copied_before)
        try:
            self._connection.send(response)
        except CodecError as error:
            self._connection.send(m.HostResponse(request.number, error=host_error_info(error)))

    def _abandon(self, pending: PendingCall) -> None:
        """Interrupt a call whose thread has raised, for example when the user interrupts ComfyUI.

        The process is ended if the call does not end in time.
        """
        deadline = time.monotonic() + GRACE_SECONDS
        with contextlib.suppress(WorkerDied):
            self.cancel(pending.call.number)
            while time.monotonic() < deadline:
                frame = self._next(pending, None, SLICE_SECONDS)[0]
                if isinstance(frame, m.Done | m.Failed):
                    self._events.discard(frame)
                    return
                if isinstance(frame, m.HostRequest):
                    error = m.ErrorInfo("interrupted", "", "")
                    self._connection.send(m.HostResponse(frame.number, error=error))
                elif frame is not None:
                    self._events.discard(frame)
            self.process.kill("interrupted")

    def _next(
        self, pending: PendingCall, check: Check | None, seconds: float = float("inf")
    ) -> tuple[Any, int]:
        """Return the next frame of a call and its size; the frame is None after that time."""
        deadline = time.monotonic() + seconds
        while (now := time.monotonic()) < deadline:
            if check is not None and pending.check_due(now):  # also if frames never stop coming
                check(self, now - self._last_received)
            if pending.inbox:
                return pending.take()
            if self.process.end_reason is not None:  # another thread has seen the end
                raise WorkerDied(self.process.end_reason)
            if self._connection.reading.acquire(timeout=SLICE_SECONDS):
                try:
                    quiet = not pending.inbox and not self._read(SLICE_SECONDS)
                finally:
                    self._connection.reading.release()
                if quiet and pending.delayed_progress is not None:
                    delayed = pending.delayed_progress
                    pending.delayed_progress = None
                    return delayed, 0
        return None, 0

    # Frames.

    def _read(self, seconds: float) -> bool:
        """Read one frame and pass it on; return False if there is none within that time."""
        received = self._connection.receive(seconds)
        if received is None:
            return False
        self._last_received = time.monotonic()
        self._pass_on(*received)
        return True

    def _pass_on(self, frame: m.FromWorker, size: int) -> None:
        if isinstance(frame, m.Done | m.Failed):
            self._deliver(frame.number, frame, size)
        elif isinstance(frame, m.HostRequest | m.Event):
            self._deliver(frame.inside, frame, size)
        elif isinstance(frame, m.Forget):
            self.host_objects.forget(frame.objects)
        elif isinstance(frame, m.Returned):
            self.objects.arenas.give_back(frame.leases)
        elif isinstance(frame, m.Dropped):
            self.objects.arenas.drop(frame.arenas)
        elif isinstance(frame, m.Ready):
            self.report = {**frame.report, **self._outer_report}

    def _deliver(self, number: int, frame: Any, size: int) -> None:
        """Put a frame into the inbox of its call, whose thread may be busy with a request."""
        pending = self._calls.get(number)
        if pending is None:
            self._deliver_outside_call(frame)
        elif pending.has_room(size):
            pending.put(frame, size)
        elif isinstance(frame, m.Event):
            self._events.discard(frame)
        else:
            raise self._connection.reject(ValueError("more than anybody could answer"))

    def _deliver_outside_call(self, frame: Any) -> None:
        if isinstance(frame, m.HostRequest):
            error = m.ErrorInfo("error", "", "no such call")
            self._connection.send(m.HostResponse(frame.number, error=error))
        elif isinstance(frame, m.Event):
            self._events.deliver_outside_call(frame)
        else:  # the call was abandoned
            self._events.discard(frame)
