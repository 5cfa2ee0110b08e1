"""Which prompts run and which have just ended, in a file of its own.

This has to outlive the process, but not the machine. A transaction for it would be between a prompt
and its first node, or its client and the result. Here it is one write to a page that the system
keeps whatever becomes of the process.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

PAGE = 4096
"""Bytes that the system takes in one piece, also from a process that is being killed."""
ROOM = PAGE - 1024
"""Of it, for what has ended."""


class Running:
    """Lines in ``queue.running`` down to an empty one; what comes after that does not count.

    The first is the ids that run, as JSON. Then come two for each prompt that has ended and is not
    in the database yet: its id with when it ended, and its result.

    Attributes:
        ids: those that run; at first, those that ran when the process before this one ended.
        ended: when, and the result as JSON, by id.
        died: those that ran when a process ended, once for each, until that is kept elsewhere.
    """

    def __init__(self, path: Path) -> None:
        path.touch()
        self._file = path.open("r+b", buffering=0)
        self.ids: list[str] = []
        self.died: list[str] = []
        self.ended: dict[str, tuple[float, str]] = {}
        self._read()
        self._write()  # a disk that fills up later has its block

    def add(self, id: str) -> None:
        """One begins."""
        self._write([*self.ids, id])

    def discard(self, id: str) -> None:
        """One waits again, or its end is in the database, if it ran at all."""
        if id in self.ids:
            self._write([one for one in self.ids if one != id])

    def end(self, id: str, when: float, result: str) -> bool:
        """One has ended; False, and nothing is changed, where there is no room for its result."""
        ended = {**self.ended, id: (when, result)}
        if len(_lines(ended)) > ROOM:
            return False
        self._write([one for one in self.ids if one != id], ended)
        return True

    def stored(self) -> None:
        """All that has ended is in the database."""
        self._write(ended={})

    def sync(self) -> None:
        """Have it on the disk as it is: after a power cut an earlier end must not be there for an
        id that has been used again."""
        os.fsync(self._file.fileno())

    def bury(self) -> None:
        """What ran has died; the file says so until :meth:`forgive`."""
        self.ids, self.died = [], [*self.died, *self.ids]

    def forgive(self) -> None:
        """Their deaths are kept elsewhere."""
        died, self.died = self.died, []
        try:
            self._write()
        except OSError:
            self.died = died
            raise

    def close(self) -> None:
        """Leave the file as it is."""
        self._file.close()

    def _write(
        self, ids: list[str] | None = None, ended: dict[str, tuple[float, str]] | None = None
    ) -> None:
        ids = self.ids if ids is None else ids
        ended = self.ended if ended is None else ended
        text = json.dumps([*self.died, *ids]).encode() + b"\n" + _lines(ended) + b"\n"
        os.pwrite(self._file.fileno(), text, 0)
        self.ids, self.ended = ids, ended

    def _read(self) -> None:
        """Leave out what is no such line: a new file; or the machine went down."""
        found, empty, _ = os.pread(self._file.fileno(), PAGE, 0).partition(b"\n\n")
        lines = found.split(b"\n") if empty else found.split(b"\n")[:1]  # of an earlier version
        try:
            ids = json.loads(lines[0])
            pairs = zip(lines[1::2], lines[2::2], strict=True)
            ended = {id: (float(when), text.decode()) for (id, when), text in
                     ((json.loads(about), text) for about, text in pairs)}  # fmt: skip
        except (ValueError, TypeError, RecursionError):
            return
        if isinstance(ids, list) and all(isinstance(id, str) for id in (*ids, *ended)):
            self.ids, self.ended = ids, ended


def _lines(ended: dict[str, tuple[float, str]]) -> bytes:
    lines = [f"{json.dumps([id, when])}\n{text}\n" for id, (when, text) in ended.items()]
    return "".join(lines).encode()
