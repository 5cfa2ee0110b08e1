"""What a worker is sent, as bytes: frames as ``Connection`` reads them, bounded in time."""

from __future__ import annotations

import select
import socket
import struct
import threading
import time

SEND_SECONDS = 10.0
"""How long a message may be on its way,"""
BYTES_PER_SECOND = 20 * 2**20
"""and longer by its size."""


class Outgoing:
    """The host's writing end.

    Args:
        connection: to the worker.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._room = select.poll()
        self._room.register(connection, select.POLLOUT)
        self._lock = threading.Lock()

    def frame(self, data: bytes) -> None:
        """Send one message.

        Raises:
            OSError: the worker has hung up, or does not read on.
        """
        until = time.monotonic() + SEND_SECONDS + len(data) / BYTES_PER_SECOND
        parts = [memoryview(struct.pack("!i", len(data))), memoryview(data)]
        with self._lock:
            while parts:
                try:
                    sent = self._connection.sendmsg(parts, (), socket.MSG_DONTWAIT)
                except BlockingIOError:
                    self._wait(until)
                    continue
                while parts and sent >= len(parts[0]):
                    sent -= len(parts.pop(0))
                if parts:
                    parts[0] = parts[0][sent:]
                    self._wait(until)

    def _wait(self, until: float) -> None:
        left = until - time.monotonic()
        if left <= 0 or not self._room.poll(1000 * left):
            raise TimeoutError("the worker does not read")
