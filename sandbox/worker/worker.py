"""One sandbox, seen from inside: runs what the host asks for, in a process that is confined.

The main thread runs calls, since many libraries want it; a second one reads what the host sends,
and a third runs coroutines once there are any.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import itertools
import os
import queue
import select
import threading
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from ..protocol import messages as m
from ..protocol.codec import Codec, ValueTroubleError
from ..protocol.exceptions import HostError, as_exception, trouble
from ..protocol.shared_memory import Arena, Chunk
from ..protocol.tensor_transfer import Borrower, Handover, Lender
from .remote_objects import Handles, HostObject

BEAT_SECONDS = 1.0
TRIM_SECONDS = 30.0
"""How long an arena stays empty before its memory goes back."""
MANY = 32
"""Objects of the host that are not referred to any more, until it hears of them at once."""

running: contextvars.ContextVar[int] = contextvars.ContextVar("running", default=0)
"""Number of the call that this code runs for, 0 outside of any."""


class Worker:
    """The worker's end of the connection, and the objects that stay here.

    Args:
        connection: frames.
        handover: descriptors.
        quota: bytes that may wait for the host to read them.
    """

    def __init__(self, connection: Connection, handover: Handover, quota: int) -> None:
        self.connection, self.handover = connection, handover
        self.codec = Codec(self)
        self._arena = Arena(quota, self._obtain)
        self._lender = Lender(self._arena)
        self._borrower = Borrower(handover, self._returned)
        self._calls: queue.SimpleQueue[m.Call] = queue.SimpleQueue()
        self._inboxes: dict[int, queue.SimpleQueue[Any]] = {}
        self._sending = threading.Lock()
        self._numbers = itertools.count(1)
        self._busy = 0
        self.current = 0
        self._gone: list[Any] = []
        self.objects = Objects()
        self.handles = Handles(self)
        self.instances: dict[int, Any] = {}
        self.run: Callable[[m.Call], Any] = _nothing
        self.cancelled: Callable[[int], None] = _ignore
        self.at_once: Callable[[m.Call], bool] = _never
        self._loop: asyncio.AbstractEventLoop | None = None

    # The port of the codec.

    def put(self, view: Any, size: int) -> m.BufferRef:
        """See :class:`values.Port`."""
        return self._lender.put(view, size)

    def get(self, place: m.BufferRef) -> Any:
        """See :class:`values.Port`."""
        return self._borrower.get(place)

    def foreign(self, value: Any) -> m.WorkerRef | m.HostRef:
        """See :class:`values.Port`."""
        if type(value) is HostObject:
            return value._zimage_ours
        from .lifted_objects import lifted

        found = lifted(self, value)
        return self.objects.keep(value) if found is None else found._zimage_ours

    def native(self, value: m.WorkerRef | m.HostRef) -> Any:
        """See :class:`values.Port`."""
        if isinstance(value, m.WorkerRef):
            return self.objects.find(value.number)
        return self.handles.take(value)

    def _obtain(self, _number: int, size: int) -> Chunk:
        import mmap

        number = int(self.ask(None, "arena", [size]))
        fd = self.handover.take(number)
        memory = mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        return Chunk(number, os.dup(fd), size, memory, [(0, size)])

    def _returned(self, lease: int) -> None:
        self._gone.append(lease)  # sent by the reader: a finalizer may run anywhere

    # Talking.

    def send(self, frame: Any) -> None:
        """Send one frame; a broken pipe ends the process, since nobody is left to work for."""
        data = m.encode(frame)
        if len(data) > m.FRAME_BYTES:
            raise ValueTroubleError(f"{len(data)} bytes are more than {m.FRAME_BYTES}")
        try:
            with self._sending:
                self.connection.send_bytes(data)
        except OSError:
            os._exit(0)

    def ask(self, target: m.HostRef | None, name: str, arguments: Any) -> Any:
        """Have the host do something, and run what it asks for meanwhile.

        Raises:
            HostError: it could or would not.
        """
        inside = running.get()
        if not inside:
            raise HostError(f"{name}: only while the host has called this pack")
        number = next(self._numbers)  # of any thread
        inbox = self._inboxes[number] = queue.SimpleQueue()
        try:
            packed = self.codec.pack(arguments)
            self.send(m.HostRequest(number, inside, target, name, packed))
            while True:
                frame = inbox.get()
                if isinstance(frame, m.Call):
                    self.serve(frame)
                elif frame.error is not None:
                    raise as_exception(frame.error)
                else:
                    return self.codec.unpack(frame.value)
        finally:
            del self._inboxes[number]

    def tell(self, kind: str, value: Any) -> None:
        """Tell the page something (see :class:`messages.Event`)."""
        self.send(m.Event(kind, running.get(), self.codec.pack(value)))

    # Working.

    def main(self) -> None:
        """Answer until the host hangs up."""
        threading.Thread(target=self._read, name="zimage-reader", daemon=True).start()
        while True:
            call = self._calls.get()
            self.current = call.number
            self.serve(call)
            self.current = 0

    def serve(self, call: m.Call) -> None:
        """Run a call and send how it ended."""
        token = running.set(call.number)
        self._busy += 1
        try:
            found = self.run(call)
            if inspect.iscoroutine(found):
                self._later(call, found)
                return
            frame: Any = m.Done(call.number, self.codec.pack(found))
            data_sent = self._try(frame)
        except BaseException as error:  # noqa: BLE001  sys.exit() in a node is a failure, too
            self.send(m.Failed(call.number, trouble(error)))
        else:
            if data_sent is not None:
                self.send(m.Failed(call.number, trouble(data_sent)))
        finally:
            self._busy -= 1
            running.reset(token)

    def _try(self, frame: Any) -> Exception | None:
        try:
            self.send(frame)
        except ValueTroubleError as error:
            return error
        return None

    def _later(self, call: m.Call, coroutine: Any) -> None:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(
                target=self._loop.run_forever, name="zimage-coroutines", daemon=True
            ).start()
        self._busy += 1
        context = contextvars.copy_context()

        async def finish() -> None:
            try:
                frame: Any = m.Done(call.number, self.codec.pack(await coroutine))
            except BaseException as error:  # noqa: BLE001
                frame = m.Failed(call.number, trouble(error))
            finally:
                self._busy -= 1
            self.send(frame)

        loop = self._loop
        loop.call_soon_threadsafe(
            lambda: context.run(asyncio.ensure_future, finish(), loop=loop) and None
        )

    def _read(self) -> None:
        arrivals = select.poll()
        arrivals.register(self.connection, select.POLLIN)
        while True:
            try:
                if not arrivals.poll(1000 * BEAT_SECONDS):
                    self._idle()
                    continue
                frame = m.from_host(self.connection.recv_bytes(m.FRAME_BYTES))
            except (EOFError, OSError):
                os._exit(0)
            self._sort(frame)

    def _idle(self) -> None:
        self._give_back()
        if gone := self._arena.trim(TRIM_SECONDS):
            self.handover.forget(gone)
            self.send(m.Dropped(gone))
        if self._busy:
            self.send(m.Heartbeat(self._busy))

    def _give_back(self) -> None:
        gone, self._gone = self._gone, []
        if gone:
            self.send(m.Returned(gone))
        if names := self.objects.lost():
            self.send(m.Forget(names))

    def _sort(self, frame: Any) -> None:
        if isinstance(frame, m.Call):
            inbox = self._inboxes.get(frame.inside)
            if inbox is None and self.at_once(frame):
                self.serve(frame)
            else:
                (inbox or self._calls).put(frame)
        elif isinstance(frame, m.HostResponse):
            if (inbox := self._inboxes.get(frame.number)) is not None:
                inbox.put(frame)
        elif isinstance(frame, m.Cancel):
            self.cancelled(frame.number)
        elif isinstance(frame, m.Forget):
            self.objects.forget(frame.objects)
            for instance in frame.instances:
                self.instances.pop(instance, None)
        elif isinstance(frame, m.Dropped):
            self.handover.forget(frame.arenas)
        else:
            for lease in frame.leases:
                self._arena.give_back(lease)
        if self._gone or self.objects.many_lost:
            self._give_back()


class Objects:
    """What stays in this process while the host has a handle for it, counted by handle."""

    def __init__(self) -> None:
        self._kept: dict[int, list[Any]] = {}
        self._numbers: dict[int, int] = {}
        self._next = 0
        self._lost: deque[tuple[int, int]] = deque()
        self._lock = threading.Lock()

    def keep(self, value: Any) -> m.WorkerRef:
        """A handle for an object."""
        with self._lock:
            number = self._numbers.get(id(value))
            if number is None:
                self._next += 1
                number = self._numbers[id(value)] = self._next
                self._kept[number] = [value, 0]
            self._kept[number][1] += 1
        name = f"{type(value).__module__}.{type(value).__qualname__}"
        return m.WorkerRef(number, name[:200], callable(value))

    def find(self, number: int) -> Any:
        """The object of a handle."""
        try:
            return self._kept[number][0]
        except KeyError:
            raise ValueTroubleError(f"no object {number}: the sandbox was restarted") from None

    def forget(self, counts: list[tuple[int, int]]) -> None:
        """The host has dropped that many handles."""
        dropped = []
        with self._lock:
            for number, count in counts:
                if (kept := self._kept.get(number)) is not None:
                    kept[1] -= count
                    if kept[1] <= 0:
                        del self._kept[number], self._numbers[id(kept[0])]
                        dropped.append(kept)

    def lose(self, number: int, count: int) -> None:
        """An object of the host is not referred to any more; the host is told in time."""
        self._lost.append((number, count))

    @property
    def many_lost(self) -> bool:
        """Whether the host should hear of them soon: it keeps them until then."""
        return len(self._lost) >= MANY

    def lost(self) -> list[tuple[int, int]]:
        """What to tell the host, once."""
        return [self._lost.popleft() for _ in range(len(self._lost))]


def _nothing(_call: m.Call) -> Any:
    raise HostError("not ready")


def _ignore(_number: int) -> None:
    return None


def _never(_call: m.Call) -> bool:
    return False
