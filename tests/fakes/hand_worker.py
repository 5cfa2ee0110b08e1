"""A worker that the test plays by hand, at the other end of the session's sockets."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

from zimage_comfyui.sandbox.host.launch import start_worker
from zimage_comfyui.sandbox.host.log_capture import Output
from zimage_comfyui.sandbox.host.pack_events import UnsolicitedEvents
from zimage_comfyui.sandbox.protocol import messages as m


class Template:
    """A template that forks nothing, and has the worker's ends.

    Attributes:
        statuses: its first answers about the worker's end; after that the worker was killed.
    """

    statuses: Iterator[int | None] = iter(())

    def spawn(self, fds: tuple[int, int, int], _ended: Callable[[int], None]) -> tuple[int, int]:
        """See ``TemplateClient``; no process has that number."""
        self.frames, self.handover, self.output = map(os.dup, fds)
        return 1, 2**31 - 1

    def wait_status(self, _token: int, _seconds: float) -> int | None:
        """Return the next status."""
        return next(self.statuses, 9)


class Worker:
    """What a worker sends, by hand."""

    def __init__(self, unsolicited: UnsolicitedEvents) -> None:
        self.template: Any = Template()
        begin = m.Begin("pack", "custom_nodes", [], {}, {}, None, {}, 2**20)
        output = Output("some")
        self.host = start_worker("some", self.template, begin, output, lambda *_: None, unsolicited)
        self.connection = Connection(self.template.frames)
        self.threads: list[threading.Thread] = []
        assert m.begin(self.connection.recv_bytes()) == begin

    def send(self, frame: Any) -> None:
        """Send a frame."""
        self.connection.send_bytes(m.encode(frame))

    def send_long(self, frame: Any) -> None:
        """Send a frame that the socket cannot hold, while the host reads it."""
        self.beside(lambda: self.send(frame))

    def beside(self, run: Callable[[], None]) -> None:
        """Run a function in a thread, until the host closes its end."""

        def until_closed() -> None:
            with contextlib.suppress(OSError, EOFError):
                run()

        self.threads.append(threading.Thread(target=until_closed, daemon=True))
        self.threads[-1].start()


class Clock:
    """A clock that the test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@contextlib.contextmanager
def by_hand(clock: Callable[[], float]) -> Iterator[Worker]:
    """Yield a worker and close it afterwards."""
    worker = Worker(UnsolicitedEvents("some", clock))
    yield worker
    worker.host.close()
    for thread in worker.threads:
        thread.join(60)  # it uses what is closed now
    worker.host.process.output.close()
    worker.connection.close()
    os.close(worker.template.handover)
    os.close(worker.template.output)


def listen(worker: Worker) -> list[Any]:
    """Return a list to which the frames of the host are added from now on."""
    frames: list[Any] = []

    def run() -> None:
        while True:
            frames.append(m.from_host(worker.connection.recv_bytes()))

    worker.beside(run)
    return frames


def tensor(worker: Worker, size: int, offset: int = 0, lease: int = 1) -> m.Tensor:
    """Return a tensor in the worker's arena."""
    if not worker.host.objects.arenas._worker_chunks:
        worker.host.objects.arenas.lend(2**20)
    (number,) = worker.host.objects.arenas._worker_chunks
    return m.Tensor("numpy", "|u1", [size], buffer=m.BufferRef(number, offset, size, lease))
