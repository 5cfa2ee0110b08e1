"""Asks the port as a client would: the final test of whether the server responds."""

from __future__ import annotations

import contextlib
import socket

from ..errors.bilingual import Bilingual
from .limits import Limits
from .messages import reason_text

REQUEST = b"GET /health/live HTTP/1.0\r\nHost: localhost\r\n\r\n"
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - the user's address, not bound here


class PortProbe:
    """Sends one request at a time and never blocks on it.

    Any reaction counts as a response: a server with TLS closes the connection, and it runs.
    """

    def __init__(self, limits: Limits) -> None:
        """Send nothing yet.

        Args:
            limits: how often to ask, and how long to wait.
        """
        self.limits = limits
        self.connection: socket.socket | None = None
        self._asked_at = 0.0
        self._last_response = 0.0

    def reset(self, now: float) -> None:
        """Start again for another server.

        Args:
            now: monotonic time.
        """
        self._close()
        self._last_response = now

    def failure(self, sockets: list[socket.socket], now: float) -> Bilingual | None:
        """Return why the port counts as dead, or None; call it often.

        Args:
            sockets: the listening sockets; the first is asked.
            now: monotonic time.
        """
        if self.connection is not None:
            waited = now - self._asked_at
            if _has_reaction(self.connection):
                self._close()
                self._last_response = now
            elif waited > self.limits.probes:
                self._close()
                return reason_text("port", seconds=waited)
        elif now - self._last_response > self.limits.probes:
            self._asked_at = now
            self._last_response = now
            self._ask(sockets[0])
        return None

    def _ask(self, listener: socket.socket) -> None:
        address = listener.getsockname()
        if listener.family not in (socket.AF_INET, socket.AF_INET6):
            return  # a socket of systemd that is not asked, such as AF_UNIX
        with contextlib.suppress(OSError):
            self.connection = socket.socket(listener.family, socket.SOCK_STREAM)
            self.connection.settimeout(1)  # the kernel accepts, whatever the server does
            self.connection.connect((LOOPBACK.get(address[0], address[0]), *address[1:]))
            self.connection.send(REQUEST)
            self.connection.setblocking(False)

    def _close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def _has_reaction(connection: socket.socket) -> bool:
    try:
        connection.recv(64)
    except ConnectionResetError:
        return True
    except OSError:  # nothing yet, or no connection
        return False
    return True
