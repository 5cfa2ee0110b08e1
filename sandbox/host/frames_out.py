"""Writes frames to a worker within a time limit."""

from __future__ import annotations

import select
import socket
import struct
import threading
import time

SEND_SECONDS = 10.0
"""Longest time to send an empty frame."""
BYTES_PER_SECOND = 20 * 2**20
"""The limit for a frame grows by a second for so many bytes."""


class FrameWriter:
    """The host's writing end. Frames have the format of ``multiprocessing``'s ``Connection``.

    Args:
        connection: to the worker.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._writable = select.poll()
        self._writable.register(connection, select.POLLOUT)
        self._lock = threading.Lock()

    def write(self, data: bytes) -> None:
        """Send one frame.

        Raises:
            TimeoutError: the worker does not read it in time.
            OSError: the worker has closed the connection.
        """
        deadline = time.monotonic() + SEND_SECONDS + len(data) / BYTES_PER_SECOND
        parts = [memoryview(struct.pack("!i", len(data))), memoryview(data)]
        with self._lock:
            while parts:
                try:
                    sent = self._connection.sendmsg(parts, (), socket.MSG_DONTWAIT)
                except BlockingIOError:
                    self._wait(deadline)
                    continue
                while parts and sent >= len(parts[0]):
                    sent -= len(parts.pop(0))
                if parts:
                    parts[0] = parts[0][sent:]
                    self._wait(deadline)

    def _wait(self, deadline: float) -> None:
        seconds = deadline - time.monotonic()
        if seconds <= 0 or not self._writable.poll(1000 * seconds):
            raise TimeoutError("the worker does not read")
