"""Asks the port itself, as a client would: the last word on whether the server answers."""

from __future__ import annotations

import contextlib
import socket

from .limits import Limits
from .messages import Text, reason

QUESTION = b"GET /health/live HTTP/1.0\r\nHost: localhost\r\n\r\n"
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - asked for by the person, not bound


class Probe:
    """One question at a time, none of them waited for.

    Any reaction is an answer: a server with TLS closes the connection, and is alive.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.asking: socket.socket | None = None
        self.asked = self.since = 0.0

    def reset(self, now: float) -> None:
        """Begin anew, for another server."""
        self._close()
        self.since = now

    def failure(self, sockets: list[socket.socket], now: float) -> Text | None:
        """Why the port counts as dead, if it does; to be called often."""
        if self.asking is not None:
            if self._answered():
                self._close()
                self.since = now
            elif now - self.asked > self.limits.probes:
                self._close()
                return reason("port", now - self.asked)
        elif now - self.since > self.limits.probes:
            self.asked = self.since = now
            self._ask(sockets[0])
        return None

    def _ask(self, listener: socket.socket) -> None:
        where = listener.getsockname()
        if listener.family not in (socket.AF_INET, socket.AF_INET6):
            return  # systemd's, of a kind that is not asked
        with contextlib.suppress(OSError):
            self.asking = socket.socket(listener.family, socket.SOCK_STREAM)
            self.asking.settimeout(1)  # the kernel connects, whatever the server does
            self.asking.connect((LOOPBACK.get(where[0], where[0]), *where[1:]))
            self.asking.send(QUESTION)
            self.asking.setblocking(False)

    def _answered(self) -> bool:
        assert self.asking is not None  # noqa: S101 - the caller has looked
        try:
            self.asking.recv(64)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True
        except OSError:
            return False
        return True

    def _close(self) -> None:
        if self.asking is not None:
            self.asking.close()
            self.asking = None
