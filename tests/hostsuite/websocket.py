"""As much of the package websocket-client as ComfyUI's own tests use."""

from __future__ import annotations

import base64
import os
import socket
import struct
from typing import Any
from urllib.parse import urlsplit

CONTINUED, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


class WebSocketTimeoutException(Exception):
    """Nothing came within the time of ``settimeout``."""


class WebSocketConnectionClosedException(Exception):
    """The server has closed the connection."""


class WebSocket:
    """One connection (RFC 6455), without compression."""

    def __init__(self) -> None:
        self.sock: socket.socket | None = None
        self._came, self._parts, self._kind = b"", b"", TEXT

    def connect(self, url: str, **_: Any) -> None:
        """Raises ``ConnectionRefusedError`` where nobody listens."""
        where = urlsplit(url)
        self.sock = socket.create_connection((where.hostname, where.port))
        key = base64.b64encode(os.urandom(16)).decode()
        # websocket-client sends an Origin, too, so servers that judge it see the same.
        self.sock.sendall(
            f"GET {where.path}?{where.query} HTTP/1.1\r\nHost: {where.netloc}\r\n"
            f"Origin: http://{where.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        while b"\r\n\r\n" not in self._came:
            self._more()
        answer, _, self._came = self._came.partition(b"\r\n\r\n")
        if b" 101 " not in answer.partition(b"\r\n")[0]:
            raise ConnectionError(answer.decode("latin-1"))

    def settimeout(self, seconds: float | None) -> None:
        """For what comes after."""
        self._socket.settimeout(seconds)

    def recv(self) -> str | bytes:
        """The next message; text as ``str``."""
        while True:
            last, kind, data = self._frame()
            if kind == CLOSE:
                raise WebSocketConnectionClosedException
            if kind == PING:
                self._send(PONG, data)
            if kind >= CLOSE:
                continue
            self._kind = kind if kind != CONTINUED else self._kind
            self._parts += data
            if last:
                whole, self._parts = self._parts, b""
                return whole.decode() if self._kind == TEXT else whole

    def send(self, text: str) -> None:
        """One text message."""
        self._send(TEXT, text.encode())

    def close(self) -> None:
        """Say so and leave."""
        self._send(CLOSE, b"")
        self._socket.close()

    @property
    def _socket(self) -> socket.socket:
        if self.sock is None:
            raise WebSocketConnectionClosedException
        return self.sock

    def _send(self, kind: int, data: bytes) -> None:
        size = len(data)
        length = bytes([0x80 | size]) if size < 126 else struct.pack(">BQ", 0xFF, size)
        # The mask is nought: it guards proxies, and there is none.
        self._socket.sendall(bytes([0x80 | kind]) + length + bytes(4) + data)

    def _frame(self) -> tuple[bool, int, bytes]:
        """The next frame: whether it ends a message, its kind, its data."""
        while (size := _size(self._came)) is None or len(self._came) < sum(size):
            self._more()  # what has come stays when the time is over
        begin, length = size
        frame, self._came = self._came[: begin + length], self._came[begin + length :]
        return bool(frame[0] & 0x80), frame[0] & 0x0F, frame[begin:]

    def _more(self) -> None:
        try:
            data = self._socket.recv(2**16)
        except TimeoutError:
            raise WebSocketTimeoutException from None
        if not data:
            raise WebSocketConnectionClosedException
        self._came += data


def _size(came: bytes) -> tuple[int, int] | None:
    """Bytes of a frame's head and of its data, once the head is there."""
    if len(came) < 2:
        return None
    short = came[1] & 0x7F
    begin = {126: 4, 127: 10}.get(short, 2)
    if len(came) < begin:
        return None
    return begin, int.from_bytes(came[2:begin]) if begin > 2 else short
