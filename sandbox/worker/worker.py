"""The worker's end of the connection: runs what the host asks for, in a confined process.

The main thread runs calls, since many libraries require it. A second thread reads what the host
sends, and a third runs coroutines once there are any.
"""

from __future__ import annotations

import contextvars
import inspect
import itertools
import mmap
import os
import queue
import select
import threading
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from ..protocol import messages as m
from ..protocol.arena import Arena
from ..protocol.codec import Codec
from ..protocol.descriptor_channel import DescriptorChannel
from ..protocol.error_info import to_exception, worker_error_info
from ..protocol.exceptions import CodecError, HostError
from ..protocol.shared_memory import Chunk
from ..protocol.tensor_transfer import ArenaReader, ArenaWriter
from .coroutines import CoroutineThread
from .exported_objects import ExportedObjects
from .lifted_objects import lifted
from .remote_objects import Handles, HostObject

HEARTBEAT_SECONDS = 1.0
TRIM_SECONDS = 30.0
"""An arena that is unused for so long is unmapped."""
MAX_UNSENT_RELEASES = 32
"""Released objects of the host that may wait for the next heartbeat: the host keeps them."""

running: contextvars.ContextVar[int] = contextvars.ContextVar("running", default=0)
"""Number of the call that this code runs for, 0 outside of any."""


class Worker:
    """The connection to the host, and the objects that stay here.

    Args:
        connection: for frames.
        descriptors: channel for file descriptors.
        quota: bytes that may wait for the host to read them.

    Attributes:
        run: runs a call.
        runs_at_once: whether a call runs in the reader's thread, while others run.
        on_cancel: cancels a call by its number.
        instances: of the pack's node classes, by the host's number.
    """

    def __init__(self, connection: Connection, descriptors: DescriptorChannel, quota: int) -> None:
        self.connection = connection
        self.descriptors = descriptors
        self.codec = Codec(self)
        self.current = 0
        self.objects = ExportedObjects()
        self.handles = Handles(self)
        self.instances: dict[int, Any] = {}
        self.run: Callable[[m.Call], Any] = _not_ready
        self.runs_at_once: Callable[[m.Call], bool] = _never
        self.on_cancel: Callable[[int], None] = _ignore
        self._arena = Arena(quota, self._new_arena)
        self._writer = ArenaWriter(self._arena)
        self._reader = ArenaReader(descriptors, self._return_lease)
        self._calls: queue.SimpleQueue[m.Call] = queue.SimpleQueue()
        self._inboxes: dict[int, queue.SimpleQueue[Any]] = {}
        self._numbers = itertools.count(1)
        self._send_lock = threading.Lock()
        self._running_calls = 0
        self._coroutines = CoroutineThread()
        # Filled by finalizers, which run in any thread; the reader sends them.
        self._returned_leases: deque[int] = deque()
        self._released: deque[tuple[int, int]] = deque()

    # The port of the codec.

    def put(self, view: Any, size: int) -> m.BufferRef:
        """See :class:`codec.Port`."""
        return self._writer.put(view, size)

    def get(self, buffer: m.BufferRef) -> Any:
        """See :class:`codec.Port`."""
        return self._reader.get(buffer)

    def reference(self, value: Any) -> m.WorkerRef | m.HostRef:
        """See :class:`codec.Port`."""
        if type(value) is HostObject:
            return value._zimage_ref
        counterpart = lifted(self, value)
        return self.objects.export(value) if counterpart is None else counterpart._zimage_ref

    def dereference(self, reference: m.WorkerRef | m.HostRef) -> Any:
        """See :class:`codec.Port`."""
        if isinstance(reference, m.WorkerRef):
            return self.objects.find(reference.number)
        return self.handles.take(reference)

    def _new_arena(self, _number: int, size: int) -> Chunk:
        number = int(self.ask(None, "arena", [size]))
        fd = self.descriptors.take(number)
        memory = mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        return Chunk(number, os.dup(fd), size, memory, [(0, size)])

    def _return_lease(self, lease: int) -> None:
        self._returned_leases.append(lease)

    # To the host: see :class:`.host_client.HostClient`.

    def send(self, frame: Any) -> None:
        """Send one frame; end the process if the host has closed the connection."""
        data = m.encode(frame)
        if len(data) > m.FRAME_BYTES:
            raise CodecError(f"{len(data)} bytes are more than {m.FRAME_BYTES}")
        try:
            with self._send_lock:
                self.connection.send_bytes(data)
        except OSError:
            os._exit(0)

    def ask(self, target: m.HostRef | None, name: str, arguments: Any) -> Any:
        """Have the host run an operation; run the host's calls that belong to it meanwhile.

        Raises:
            HostError: the host refused or failed, or no call of the host runs here.
        """
        inside = running.get()
        if not inside:
            raise HostError(f"{name}: only while the host has called this pack")
        number = next(self._numbers)  # several threads ask
        inbox = self._inboxes[number] = queue.SimpleQueue()
        try:
            packed = self.codec.pack(arguments)
            self.send(m.HostRequest(number, inside, target, name, packed))
            while True:
                frame = inbox.get()
                if isinstance(frame, m.Call):
                    self.serve(frame)
                elif frame.error is not None:
                    raise to_exception(frame.error)
                else:
                    return self.codec.unpack(frame.value)
        finally:
            del self._inboxes[number]

    def send_event(self, kind: str, value: Any) -> None:
        """Send the page an event (see :class:`messages.Event`)."""
        self.send(m.Event(kind, running.get(), self.codec.pack(value)))

    def release(self, number: int, count: int) -> None:
        """Release references to an object of the host; the host learns of it later."""
        self._released.append((number, count))

    # Calls of the host.

    def main(self) -> None:
        """Serve until the host hangs up."""
        threading.Thread(target=self._read, name="zimage-reader", daemon=True).start()
        while True:
            call = self._calls.get()
            self.current = call.number
            self.serve(call)
            self.current = 0

    def serve(self, call: m.Call) -> None:
        """Run a call and send its result or error."""
        token = running.set(call.number)
        self._running_calls += 1
        try:
            result = self.run(call)
            if inspect.iscoroutine(result):
                self._running_calls += 1
                self._coroutines.start(self._finish(call, result))
            else:
                self.send(m.Done(call.number, self.codec.pack(result)))
        except BaseException as error:  # noqa: BLE001  sys.exit() in a node is a failure, too
            self.send(m.Failed(call.number, worker_error_info(error)))
        finally:
            self._running_calls -= 1
            running.reset(token)

    async def _finish(self, call: m.Call, coroutine: Any) -> None:
        try:
            self.send(m.Done(call.number, self.codec.pack(await coroutine)))
        except BaseException as error:  # noqa: BLE001  sys.exit() in a node is a failure, too
            self.send(m.Failed(call.number, worker_error_info(error)))
        finally:
            self._running_calls -= 1

    # The reader's thread.

    def _read(self) -> None:
        arrivals = select.poll()
        arrivals.register(self.connection, select.POLLIN)
        while True:
            try:
                if not arrivals.poll(1000 * HEARTBEAT_SECONDS):
                    self._idle()
                    continue
                frame = m.from_host(self.connection.recv_bytes(m.FRAME_BYTES))
            except (EOFError, OSError):
                os._exit(0)
            self._handle(frame)
            if self._returned_leases or len(self._released) >= MAX_UNSENT_RELEASES:
                self._send_releases()

    def _idle(self) -> None:
        self._send_releases()
        if trimmed := self._arena.trim(TRIM_SECONDS):
            self.descriptors.forget(trimmed)
            self.send(m.Dropped(trimmed))
        if self._running_calls:
            self.send(m.Heartbeat(self._running_calls))

    def _send_releases(self) -> None:
        if leases := _drained(self._returned_leases):
            self.send(m.Returned(leases))
        if counts := _drained(self._released):
            self.send(m.Forget(counts))

    def _handle(self, frame: Any) -> None:
        if isinstance(frame, m.Call):
            self._enqueue(frame)
        elif isinstance(frame, m.HostResponse):
            if (inbox := self._inboxes.get(frame.number)) is not None:
                inbox.put(frame)
        elif isinstance(frame, m.Cancel):
            self.on_cancel(frame.number)
        elif isinstance(frame, m.Forget):
            self.objects.forget(frame.objects)
            for instance in frame.instances:
                self.instances.pop(instance, None)
        elif isinstance(frame, m.Dropped):
            self.descriptors.forget(frame.arenas)
        else:
            for lease in frame.leases:
                self._arena.give_back(lease)

    def _enqueue(self, call: m.Call) -> None:
        inbox = self._inboxes.get(call.inside)
        if inbox is None and self.runs_at_once(call):
            self.serve(call)
        else:
            (inbox or self._calls).put(call)


def _drained(items: deque[Any]) -> list[Any]:
    return [items.popleft() for _ in range(len(items))]


def _not_ready(_call: m.Call) -> Any:
    raise HostError("not ready")


def _never(_call: m.Call) -> bool:
    return False


def _ignore(_number: int) -> None:
    return None
