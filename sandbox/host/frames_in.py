"""Reads frames of a worker within limits of size and time, and the report of its crash."""

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
"""Longest time from the beginning of a frame to its end."""
READ_BYTES = 2**20
REPORT_PART_SECONDS = 1.0
"""Longest time between two parts of faulthandler's report."""
REPORT_SECONDS = 2.0
REPORT_BYTES = 64 * 2**10
REPORT_END = b"(total: "
SIGNALS = {
    "Segmentation fault": "SIGSEGV",
    "Aborted": "SIGABRT",
    "Bus error": "SIGBUS",
    "Floating point exception": "SIGFPE",
    "Illegal instruction": "SIGILL",
}
"""Signals by faulthandler's names for them."""
FATAL_ERROR = b"Fatal Python error"
NAMED_ERROR = re.compile(rf"Fatal Python error: ({'|'.join(SIGNALS)})\n")


class WorkerCrash(Exception):
    """A report of faulthandler in the worker.

    Attributes:
        report: its text, as far as it arrived.
        signal: the name of the signal, None if the report does not contain it.
        signal_unknown: whether it is a crash whose signal the kernel has to tell.
    """

    def __init__(self, report: bytes) -> None:
        super().__init__(report[:200])
        self.report = report
        named = NAMED_ERROR.match(report.decode("utf-8", "replace"))
        self.signal = SIGNALS[named.group(1)] if named else None
        beginning = report[: len(FATAL_ERROR)]  # the report may be cut off anywhere
        self.signal_unknown = named is None and FATAL_ERROR.startswith(beginning)


class FrameReader:
    """The host's reading end.

    Args:
        connection: frames in the format of ``multiprocessing``'s ``Connection``.
        descriptors: the socket for descriptors. A worker sends nothing on it but faulthandler's
            report, which arrives long before the kernel has ended the process.
    """

    def __init__(self, connection: socket.socket, descriptors: socket.socket) -> None:
        self._connection = connection
        self._descriptors = descriptors
        self._readable = select.poll()
        self._readable.register(connection, select.POLLIN)
        self._readable.register(descriptors, select.POLLIN)

    def read(self, seconds: float) -> bytes | None:
        """Return one frame, None if none begins within that time.

        Raises:
            WorkerCrash: the worker has crashed.
            BlockingIOError: the frame does not end in time.
            ValueError: the frame is too long.
            EOFError: the worker has closed the connection.
            OSError: the connection is broken.
        """
        ready = self._readable.poll(1000 * seconds)
        if not ready:
            return None
        if all(fd != self._connection.fileno() for fd, _ in ready):
            raise WorkerCrash(self.read_report(REPORT_PART_SECONDS))
        deadline = time.monotonic() + FRAME_SECONDS
        (size,) = struct.unpack("!i", self._read_exactly(4, deadline))
        if not 0 <= size <= m.FRAME_BYTES:
            raise ValueError(f"{size} bytes, at most {m.FRAME_BYTES}")
        return self._read_exactly(size, deadline)

    def _read_exactly(self, size: int, deadline: float) -> bytes:
        parts: list[bytes] = []
        missing = size
        while missing:
            part = os.read(self._connection.fileno(), min(missing, READ_BYTES))
            if not part:
                raise EOFError
            parts.append(part)
            missing -= len(part)
            if missing and time.monotonic() > deadline:
                raise BlockingIOError(f"{missing} of {size} bytes did not come")
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read_report(self, seconds: float) -> bytes:
        """Return faulthandler's report, which is written in many small parts.

        Args:
            seconds: longest time to wait for the next part.
        """
        report = b""
        deadline = time.monotonic() + REPORT_SECONDS
        with contextlib.suppress(OSError):
            readable = select.poll()
            readable.register(self._descriptors, select.POLLIN)
            while (
                REPORT_END not in report
                and len(report) < REPORT_BYTES
                and time.monotonic() < deadline
                and readable.poll(1000 * seconds)
            ):
                part = self._descriptors.recv(REPORT_BYTES, socket.MSG_DONTWAIT)
                if not part:
                    break
                report += part
        return report
