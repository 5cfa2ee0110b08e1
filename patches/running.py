"""Which prompts run, in a file of its own: what has to outlive the process, but not the machine.

A transaction for it would be between a prompt and its first node. Here it is one write to a page
that the system keeps whatever becomes of the process.
"""

from __future__ import annotations

import json
import os
from pathlib import Path


class Running:
    """Ids in ``queue.running``, as a line of JSON; what comes after that line does not count.

    Attributes:
        ids: those that run; at first, those that ran when the process before this one ended.
    """

    def __init__(self, path: Path) -> None:
        path.touch()
        self._file = path.open("r+b", buffering=0)
        self.ids = self._read()
        self._write(self.ids)  # a disk that fills up later has its block

    def add(self, id: str) -> None:
        """One begins."""
        self._write([*self.ids, id])

    def discard(self, id: str) -> None:
        """One has ended or waits again, if it ran at all."""
        if id in self.ids:
            self._write([one for one in self.ids if one != id])

    def clear(self) -> None:
        """None runs."""
        self._write([])

    def close(self) -> None:
        """Leave the file as it is."""
        self._file.close()

    def _write(self, ids: list[str]) -> None:
        os.pwrite(self._file.fileno(), json.dumps(ids).encode() + b"\n", 0)
        self.ids = ids

    def _read(self) -> list[str]:
        try:
            found = json.loads(self._file.readline())
        except ValueError:  # a new file; or the machine went down, and what ran is not known
            return []
        whole = isinstance(found, list) and all(isinstance(id, str) for id in found)
        return found if whole else []
