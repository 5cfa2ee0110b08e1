"""What a worker sends, as bytes: frames, bounded in size and time, and the report of its crash."""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import struct
import time

from ..protocol import messages as m

FRAME_SECONDS = 10
"""How long a message may be on its way."""
READ_BYTES = 2**20
REPORT_SECONDS = 1.0
"""How long the next piece of faulthandler's report may be on its way; what ends it is known."""
LONGEST_REPORT_SECONDS = 2.0
REPORT_BYTES = 64 * 2**10
SIGNALS = {
    "Segmentation fault": "SIGSEGV", "Aborted": "SIGABRT", "Bus error": "SIGBUS",
    "Floating point exception": "SIGFPE", "Illegal instruction": "SIGILL",
}  # fmt: skip
"""In faulthandler's words."""
FATAL = b"Fatal Python error"
NAMED = re.compile(rf"Fatal Python error: ({'|'.join(SIGNALS)})\n")


class Crash(Exception):
    """The worker has told of its own end.

    Attributes:
        told: faulthandler's report, as far as it came.
        signal: the name of the signal, None if it does not say.
        unnamed: whether it is an end all the same, so the kernel will say which.
    """

    def __init__(self, told: bytes) -> None:
        super().__init__(told[:200])
        self.told = told
        found = NAMED.match(told.decode("utf-8", "replace"))
        self.signal = SIGNALS[found.group(1)] if found else None
        begun = told[: len(FATAL)]
        self.unnamed = found is None and begun == FATAL[: len(begun)]  # it may tell no more


class Incoming:
    """The host's reading end.

    Args:
        connection: frames, as ``multiprocessing``'s ``Connection`` sends them.
        handover: the socket for descriptors. A worker sends nothing there but faulthandler's
            report, which comes long before the kernel has taken the memory of the process apart.
    """

    def __init__(self, connection: socket.socket, handover: socket.socket) -> None:
        self._connection, self._handover = connection, handover
        self._arrivals = select.poll()
        self._arrivals.register(connection, select.POLLIN)
        self._arrivals.register(handover, select.POLLIN)

    def frame(self, seconds: float) -> bytes | None:
        """One message, None if none begins within that time.

        Raises:
            Crash: the worker has crashed.
            BlockingIOError: a message does not end.
            ValueError: it is too long.
            EOFError, OSError: the worker has hung up.
        """
        arrived = self._arrivals.poll(1000 * seconds)
        if not arrived:
            return None
        if all(fd != self._connection.fileno() for fd, _ in arrived):
            raise Crash(self.report(REPORT_SECONDS))
        until = time.monotonic() + FRAME_SECONDS
        (size,) = struct.unpack("!i", self._exactly(4, until))
        if not 0 <= size <= m.FRAME_BYTES:
            raise ValueError(f"{size} bytes, at most {m.FRAME_BYTES}")
        return self._exactly(size, until)

    def _exactly(self, size: int, until: float) -> bytes:
        parts, missing = [], size
        while missing:
            part = os.read(self._connection.fileno(), min(missing, READ_BYTES))
            if not part:
                raise EOFError
            parts.append(part)
            missing -= len(part)
            if missing and time.monotonic() > until:
                raise BlockingIOError(f"{missing} of {size} bytes did not come")
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def report(self, seconds: float) -> bytes:
        """What faulthandler has written, in many small pieces: so long no more has come."""
        told, last = b"", time.monotonic() + LONGEST_REPORT_SECONDS
        with contextlib.suppress(OSError):
            arrivals = select.poll()
            arrivals.register(self._handover, select.POLLIN)
            while b"(total: " not in told and len(told) < REPORT_BYTES and time.monotonic() < last:
                if not arrivals.poll(1000 * seconds):
                    break
                part = self._handover.recv(REPORT_BYTES, socket.MSG_DONTWAIT)
                if not part:
                    break
                told += part
        return told
