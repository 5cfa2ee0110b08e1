"""A socket that passes file descriptors, each with a number."""

from __future__ import annotations

import array
import os
import socket
import threading
from collections.abc import Iterable

from .exceptions import CodecError

RECEIVE_SECONDS = 30.0
NUMBER_BYTES = 8


class DescriptorChannel:
    """One end of the socket, and the descriptors that were received on it."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._lock = threading.Lock()
        self._received: dict[int, int] = {}

    def send(self, number: int, fd: int) -> None:
        """Send a descriptor."""
        with self._lock:
            socket.send_fds(self.socket, [number.to_bytes(NUMBER_BYTES, "little")], [fd])

    def take(self, number: int) -> int:
        """Return the descriptor with a number, which is sent before the message that names it.

        Raises:
            CodecError: it was not sent.
        """
        with self._lock:
            while number not in self._received:
                self._receive(number)
            return self._received[number]

    def _receive(self, wanted: int) -> None:
        self.socket.settimeout(RECEIVE_SECONDS)
        try:
            data, ancillary, _, _ = self.socket.recvmsg(NUMBER_BYTES, socket.CMSG_SPACE(4))
        except OSError as error:
            raise CodecError(f"no descriptor {wanted}: {error}") from None
        fds = array.array("i")
        for _level, _type, content in ancillary:
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
        if len(data) != NUMBER_BYTES or len(fds) != 1:
            raise CodecError(f"no descriptor {wanted}")
        self._received[int.from_bytes(data, "little")] = fds[0]

    def forget(self, numbers: Iterable[int]) -> None:
        """Close received descriptors."""
        with self._lock:
            for number in numbers:
                if (fd := self._received.pop(number, None)) is not None:
                    os.close(fd)

    def close(self) -> None:
        """Close the received descriptors and the socket."""
        for fd in self._received.values():
            os.close(fd)
        self._received.clear()
        self.socket.close()
