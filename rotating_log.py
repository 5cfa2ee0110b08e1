"""A log of one line after the other, 100 MB and seven files of it, that never stops a prompt.

As a program, ``lines.py LOG`` hands on to standard error what comes in, as ``tee`` does, and has it
in such a log. It needs nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

log = logging.getLogger(__name__)

LARGEST = 100 * 2**20
"""Bytes of one file."""
FILES = 7
LONGEST = 2**20
"""Bytes of what comes in without an end of line, which is then given one."""


class Lines(RotatingFileHandler):
    """A log that a second process may write, too, or rename or remove.

    Args:
        path: the newest file; older ones are ``path.1`` … ``path.6``. Its folder is made.
        header: first line of every file, none when empty.
        largest: bytes of one file.
    """

    def __init__(self, path: Path, header: str = "", largest: int = LARGEST) -> None:
        super().__init__(
            path, maxBytes=largest, backupCount=FILES - 1, encoding="utf-8", delay=True
        )
        self.header = header

    def add(self, line: str) -> None:
        """One line more; a disk that fails costs the line alone.

        As a handler does it, but without a record, which would cost ten times as much.
        """
        text = line + self.terminator
        with self.lock or contextlib.nullcontext():
            try:
                stream = self._current()
                if os.fstat(stream.fileno()).st_size + len(text.encode()) >= self.maxBytes:
                    self.doRollover()
                    stream = self.stream = self._open()
                stream.write(text)
                stream.flush()
            except Exception:  # noqa: BLE001 - as a handler does; it is told
                self.handleError(logging.makeLogRecord({}))

    def _current(self) -> TextIOWrapper:
        """What has the name, opened again where that is something else than before."""
        if self.stream is not None:
            with contextlib.suppress(OSError):
                named, ours = os.stat(self.baseFilename), os.fstat(self.stream.fileno())
                if os.path.samestat(named, ours):
                    return self.stream
            self._let_go()
        self.stream = stream = self._open()
        stream.flush()  # its header counts
        return stream

    def _let_go(self) -> None:
        with contextlib.suppress(OSError):  # of a disk that is full
            self.close()

    def handleError(self, record: logging.LogRecord) -> None:
        """What the host's log hears of a line that is lost."""
        log.warning("Z-Image: a line of %s is lost", self.baseFilename, exc_info=True)
        self._let_go()  # with what did not get there

    def _open(self) -> TextIOWrapper:
        Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
        stream = super()._open()
        if self.header and not stream.tell():
            stream.write(self.header + self.terminator)
        return stream


def copy(lines: Lines) -> None:
    """Hand on what comes in, until there is no more; a terminal that is gone costs itself alone."""
    rest = b""
    while data := os.read(0, 2**16):
        with contextlib.suppress(OSError):
            sys.stderr.buffer.write(data)
            sys.stderr.buffer.flush()
        *whole, rest = (rest + data).split(b"\n")
        if len(rest) > LONGEST:
            whole, rest = [*whole, rest], b""
        for line in whole:
            lines.add(line.decode("utf-8", "backslashreplace"))
    if rest:
        lines.add(rest.decode("utf-8", "backslashreplace"))


if __name__ == "__main__":
    logging.disable()  # what a full disk does not take is on standard error
    copy(Lines(Path(sys.argv[1])))
