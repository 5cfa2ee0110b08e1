"""What workers print: into the host's log, line by line, harmless, and its end for messages."""

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
LINE_CHARACTERS = 1000
TAIL_LINES = 20
READ_BYTES = 65536
PIPE_BYTES = 2**20
"""The most that a pipe holds."""
LINES_PER_SECOND = 200
"""Of one pack in the host's log; the rest is counted. Its end can still be read in full."""


class Output:
    """The pipe that one pack prints into, one process after the other.

    Attributes:
        tail: the last lines of the process that prints now.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.reading, self.writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(self.writing, True)
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._rest = b""
        self._second, self._lines, self._left_out = 0, 0, 0
        self._lock = threading.Lock()

    def pump(self) -> bool:
        """Take what is there; False when there was nothing."""
        with self._lock, contextlib.suppress(BlockingIOError):
            data = os.read(self.reading, READ_BYTES)
            self._take(data)
            return bool(data)
        return False

    def add(self, data: bytes) -> None:
        """Lines that came another way, after what is in the pipe."""
        self._empty()
        with self._lock:
            self._take(data)

    def _empty(self) -> None:
        """Read what the pipe can hold, not what somebody goes on to write."""
        for _ in range(PIPE_BYTES // READ_BYTES + 1):
            if not self.pump():
                break

    def _take(self, data: bytes) -> None:
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[-READ_BYTES:]
        for line in lines:
            self._line(line)

    def _line(self, line: bytes) -> None:
        text = clean(line.decode("utf-8", "backslashreplace"))
        if not text.startswith("Extension modules: "):  # of faulthandler: a page of names
            self.tail.append(text)
        now = int(time.monotonic())
        if now != self._second:
            if self._left_out:
                log.warning("[%s] … %d lines left out", self.name, self._left_out)
            self._second, self._lines, self._left_out = now, 0, 0
        self._lines += 1
        if self._lines > LINES_PER_SECOND:
            self._left_out += 1
        else:
            log.info("[%s] %s", self.name, text)

    def begin(self) -> deque[str]:
        """Another process prints from here on; its last lines, as they come."""
        self._empty()  # into the last lines of the one before
        with self._lock:
            self.tail = deque(maxlen=TAIL_LINES)
            return self.tail

    def last(self, of: deque[str] | None = None) -> str:
        """The last lines of a process, else of the newest, with what is in the pipe."""
        self._empty()
        with self._lock:
            return "\n".join(self.tail if of is None else of)

    def close(self) -> None:
        """Close both ends."""
        os.close(self.reading)
        os.close(self.writing)


def clean(text: str) -> str:
    """One line without anything that a terminal or a log would take for a command."""
    text = CONTROL.sub(lambda found: f"\\x{ord(found.group()):02x}", text.rstrip("\r"))
    return text if len(text) <= LINE_CHARACTERS else text[:LINE_CHARACTERS] + "…"


def clean_lines(text: str, characters: int) -> str:
    """Lines that cannot be taken for somebody else's: those after the first are indented.

    Args:
        characters: the most that is kept, of the beginning.
    """
    lines = text[: characters + 1].split("\n")
    found = "\n  ".join(map(clean, lines))
    return found if len(found) <= characters else found[:characters] + "…"


class Pump:
    """One thread that reads what all packs print."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def add(self, output: Output) -> None:
        """Read this one, too."""
        with self._lock:
            self._selector.register(output.reading, selectors.EVENT_READ, output)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="zimage-sandbox-logs", daemon=True
                )
                self._thread.start()
        os.write(self._waker, b"x")

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._wake, 4096)
                else:
                    with contextlib.suppress(OSError):
                        key.data.pump()
            time.sleep(0.01)  # a flood costs a hundred reads a second, not a core
