"""Standard output of workers: into the host's log, and its last lines for error messages."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import selectors
import threading
import time
from collections import deque

log = logging.getLogger("zimage.sandbox")
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Characters that a terminal or a log could take for a command."""
LINE_CHARACTERS = 1000
TAIL_LINES = 20
READ_BYTES = 65536
PIPE_BYTES = 2**20
"""Largest capacity of a pipe."""
LINES_PER_SECOND = 200
"""Of one pack in the host's log. The others are counted; the last lines are always available."""


class Output:
    """The pipe for the standard output of one pack's processes.

    Attributes:
        reading: the descriptor of the reading end.
        writing: the descriptor of the writing end.
        tail: the last lines of the current process.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.reading, self.writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(self.writing, True)
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._partial_line = b""
        self._second = 0
        self._lines = 0
        self._omitted = 0
        self._lock = threading.Lock()

    def read(self) -> bool:
        """Read what is in the pipe, up to a limit; return False if it is empty."""
        with self._lock, contextlib.suppress(BlockingIOError):
            data = os.read(self.reading, READ_BYTES)
            self._add(data)
            return bool(data)
        return False

    def add(self, data: bytes) -> None:
        """Add lines from another source, after what is in the pipe."""
        self._read_all()
        with self._lock:
            self._add(data)

    def _read_all(self) -> None:
        """Read as much as the pipe can hold: a process may never stop writing."""
        for _ in range(PIPE_BYTES // READ_BYTES + 1):
            if not self.read():
                break

    def _add(self, data: bytes) -> None:
        *lines, rest = (self._partial_line + data).split(b"\n")
        self._partial_line = rest[-READ_BYTES:]
        for line in lines:
            self._add_line(line)

    def _add_line(self, line: bytes) -> None:
        text = clean(line.decode("utf-8", "backslashreplace"))
        if not text.startswith("Extension modules: "):  # of faulthandler: a page of names
            self.tail.append(text)
        now = int(time.monotonic())
        if now != self._second:
            if self._omitted:
                log.warning("[%s] … %d lines left out", self.name, self._omitted)
            self._second = now
            self._lines = 0
            self._omitted = 0
        self._lines += 1
        if self._lines > LINES_PER_SECOND:
            self._omitted += 1
        else:
            log.info("[%s] %s", self.name, text)

    def begin(self) -> deque[str]:
        """Start the tail of a new process and return it; it grows with the output."""
        self._read_all()  # belongs to the process before
        with self._lock:
            self.tail = deque(maxlen=TAIL_LINES)
            return self.tail

    def last(self, tail: deque[str] | None = None) -> str:
        """Return the last lines, including what is in the pipe.

        Args:
            tail: of a process; else that of the current one.
        """
        self._read_all()
        with self._lock:
            return "\n".join(self.tail if tail is None else tail)

    def close(self) -> None:
        """Close both ends."""
        os.close(self.reading)
        os.close(self.writing)


def clean(text: str) -> str:
    """Return one line of limited length, with escapes for control characters."""
    text = CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", text.rstrip("\r"))
    return text if len(text) <= LINE_CHARACTERS else text[:LINE_CHARACTERS] + "…"


def clean_lines(text: str, characters: int) -> str:
    """Return clean lines, indented after the first, so that they cannot forge log entries.

    Args:
        text: of a worker.
        characters: the result is cut after so many.
    """
    lines = text[: characters + 1].split("\n")
    cleaned = "\n  ".join(map(clean, lines))
    return cleaned if len(cleaned) <= characters else cleaned[:characters] + "…"


class OutputReader:
    """One thread that reads the output of all packs."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake_reading, self._wake_writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._selector.register(self._wake_reading, selectors.EVENT_READ)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def add(self, output: Output) -> None:
        """Read this output, too."""
        with self._lock:
            self._selector.register(output.reading, selectors.EVENT_READ, output)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="zimage-sandbox-logs", daemon=True
                )
                self._thread.start()
        os.write(self._wake_writing, b"x")

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._wake_reading, 4096)
                else:
                    with contextlib.suppress(OSError):
                        key.data.read()
            time.sleep(0.01)  # a flood of output costs a hundred reads a second, not a whole core
