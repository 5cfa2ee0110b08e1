"""A worker that a test is itself, at the other end of a process's sockets."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

from zimage_comfyui.sandbox.host.launch import start_worker
from zimage_comfyui.sandbox.host.log_capture import Output
from zimage_comfyui.sandbox.protocol import messages as m
from zimage_comfyui.sandbox.web.events import Asides


class Template:
    """A template: it forks nothing, and keeps the worker's ends.

    Attributes:
        told: what it says when it is asked how the worker ended, before it knows.
    """

    told: Iterator[int | None] = iter(())

    def spawn(self, fds: tuple[int, int, int], _ended: Callable[[int], None]) -> tuple[int, int]:
        """See ``TemplateClient``; no process has that number."""
        self.frames, self.handover, self.output = map(os.dup, fds)
        return 1, 2**31 - 1

    def wait_status(self, _token: int, _seconds: float) -> int | None:
        """It was killed, if it has been told by now."""
        return next(self.told, 9)


class Worker:
    """What a worker sends, by hand."""

    def __init__(self, asides: Asides) -> None:
        self.parent: Any = Template()
        begin = m.Begin("pack", "custom_nodes", [], {}, {}, None, {}, 2**20)
        output = Output("some")
        self.host = start_worker("some", self.parent, begin, output, lambda *_: None, asides)
        self.connection = Connection(self.parent.frames)
        self.threads: list[threading.Thread] = []
        assert m.begin(self.connection.recv_bytes()) == begin

    def send(self, frame: Any) -> None:
        """One frame."""
        self.connection.send_bytes(m.encode(frame))

    def send_long(self, frame: Any) -> None:
        """One that the socket cannot hold: it goes as the host reads it."""
        self.beside(lambda: self.send(frame))

    def beside(self, run: Callable[[], None]) -> None:
        """Do it in a thread, until the host closes its end."""

        def until_closed() -> None:
            with contextlib.suppress(OSError, EOFError):
                run()

        self.threads.append(threading.Thread(target=until_closed, daemon=True))
        self.threads[-1].start()


class Clock:
    """Seconds that pass when they are told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@contextlib.contextmanager
def by_hand(clock: Callable[[], float]) -> Iterator[Worker]:
    """One, and its end."""
    found = Worker(Asides("some", clock))
    yield found
    found.host.close()
    for one in found.threads:
        one.join(60)  # it uses what is closed now
    found.host.process.output.close()
    found.connection.close()
    os.close(found.parent.handover)
    os.close(found.parent.output)


def listen(worker: Worker) -> list[Any]:
    """Frames that the host sends, from now on."""
    frames: list[Any] = []

    def run() -> None:
        while True:
            frames.append(m.from_host(worker.connection.recv_bytes()))

    worker.beside(run)
    return frames


def tensor(worker: Worker, size: int, offset: int = 0, lease: int = 1) -> m.Tensor:
    """One that lies in the worker's arena."""
    if not worker.host.objects.arenas._worker_chunks:
        worker.host.objects.arenas.lend(2**20)
    (number,) = worker.host.objects.arenas._worker_chunks
    return m.Tensor("numpy", "|u1", [size], buffer=m.BufferRef(number, offset, size, lease))
