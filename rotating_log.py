"""A rotating log file, seven files of 100 MiB each, whose errors never stop a prompt.

As a program, ``rotating_log.py LOG`` copies standard input to standard error and to such a log, as
``tee`` does. It needs only the standard library.
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
"""Most bytes of a line of standard input; a longer line is split."""


class Lines(RotatingFileHandler):
    """A log file that other processes may also write, rename or remove.

    Args:
        path: the newest file; older ones are ``path.1`` … ``path.6``. Its folder is created.
        header: first line of every file; empty for none.
        largest: most bytes of a file.
    """

    def __init__(self, path: Path, header: str = "", largest: int = LARGEST) -> None:
        super().__init__(
            path, maxBytes=largest, backupCount=FILES - 1, encoding="utf-8", delay=True
        )
        self.header = header

    def add(self, line: str) -> None:
        """Append one line; a disk error loses only that line.

        It works like a logging handler, but without a record, which would take ten times as long.
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
            except Exception:  # noqa: BLE001 - logging handlers catch all errors as well
                self.handleError(logging.makeLogRecord({}))

    def _current(self) -> TextIOWrapper:
        """Return the open file; open it again if it was renamed or removed."""
        if self.stream is not None:
            with contextlib.suppress(OSError):
                on_disk = os.stat(self.baseFilename)
                if os.path.samestat(on_disk, os.fstat(self.stream.fileno())):
                    return self.stream
            self._close_quietly()
        self.stream = stream = self._open()
        stream.flush()  # the size of the file includes its header
        return stream

    def _close_quietly(self) -> None:
        with contextlib.suppress(OSError):  # the disk may be full
            self.close()

    def handleError(self, record: logging.LogRecord) -> None:
        """Log a warning about a lost line, and close the file with its unwritten buffer."""
        log.warning("Z-Image: a line of %s is lost", self.baseFilename, exc_info=True)
        self._close_quietly()

    def _open(self) -> TextIOWrapper:
        Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
        stream = super()._open()
        if self.header and not stream.tell():
            stream.write(self.header + self.terminator)
        return stream


def copy(lines: Lines) -> None:
    """Copy standard input to standard error and to a log until it ends.

    The log continues after errors of standard error, such as a closed terminal.
    """
    partial = b""
    while data := os.read(0, 2**16):
        with contextlib.suppress(OSError):
            sys.stderr.buffer.write(data)
            sys.stderr.buffer.flush()
        *complete, partial = (partial + data).split(b"\n")
        if len(partial) > LONGEST:
            complete.append(partial)
            partial = b""
        for line in complete:
            lines.add(line.decode("utf-8", "backslashreplace"))
    if partial:
        lines.add(partial.decode("utf-8", "backslashreplace"))


if __name__ == "__main__":
    logging.disable()  # lines that the disk does not take are still on standard error
    copy(Lines(Path(sys.argv[1])))
