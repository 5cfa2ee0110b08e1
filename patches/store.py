"""Accepted prompts on disk: SQLite, one row for each prompt from acceptance to its last history.

What was answered with 200 has to outlive the machine, so :meth:`Store.accept` returns after an
``fsync`` (WAL, ``synchronous=FULL``). That a prompt runs or has ended need only outlive the
process: after a power cut it would be run again, so these writes do not wait for the disk.
A single process may have the file open.
"""

from __future__ import annotations

import fcntl
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ZImageError

SCHEMA = """
CREATE TABLE IF NOT EXISTS prompts (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    number REAL NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'running', 'ended')),
    deaths INTEGER NOT NULL DEFAULT 0,
    item TEXT NOT NULL,
    result TEXT,
    ended REAL
) STRICT;
CREATE INDEX IF NOT EXISTS by_state ON prompts (state, number, seq);
CREATE INDEX IF NOT EXISTS by_end ON prompts (ended, seq) WHERE ended IS NOT NULL;
"""
LATEST = "SELECT max(ended) FROM prompts WHERE ended IS NOT NULL"
OLDEST = "SELECT id, ended FROM prompts WHERE ended IS NOT NULL ORDER BY ended, seq LIMIT 1"
"""Both ends of the history, found in the index however long it is."""
VERSION = 1
MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """How much history is kept; whatever is reached first counts.

    Attributes:
        count: entries, as many as ComfyUI keeps.
        bytes: of prompts and results together.
        seconds: since the end of a prompt.
    """

    count: int = 10_000
    bytes: int = 64 * MIB
    seconds: float = 30 * 86400


@dataclass(frozen=True)
class Row:
    """A prompt as it lies in the file.

    Attributes:
        item: ``[prompt, extra_data, outputs_to_execute]``.
        deaths: how often the process died while this prompt was running.
        result: ``outputs``, ``meta`` and ``status`` of its history, None before its end.
    """

    seq: int
    id: str
    number: float
    state: str
    deaths: int
    item: list[Any]
    result: dict[str, Any] | None


class Store:
    """The file; every method is one transaction and safe to call from any thread."""

    def __init__(
        self, folder: Path, limits: Limits | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        """Open or make ``queue.sqlite`` in a folder.

        Raises:
            ZImageError: ``ZI-QUEUE-TAKEN`` when another process has it open, ``ZI-QUEUE-FILE``
                when it cannot be read or written.
        """
        self.path = folder / "queue.sqlite"
        self.limits, self.clock, self._mutex = limits or Limits(), clock, threading.RLock()
        with self._told():
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = (folder / "queue.lock").open("a")
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._lock.close()
                raise ZImageError("ZI-QUEUE-TAKEN", path=folder) from None
            self._base = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            try:
                self._open()
            except BaseException:
                self.close()
                raise

    def _open(self) -> None:
        self._base.execute("PRAGMA journal_mode=WAL")
        found = self._base.execute("PRAGMA user_version").fetchone()[0]
        if found not in (0, VERSION):
            raise ZImageError("ZI-QUEUE-FILE", path=self.path, found=f"user_version {found}")
        self._base.executescript(f"{SCHEMA} PRAGMA user_version={VERSION};")
        used = (
            "SELECT count(*), total(length(item) + length(result)) FROM prompts "
            "WHERE state = 'ended'"
        )
        self._count, self._bytes = self._base.execute(used).fetchone()

    def close(self) -> None:
        """Close the file and let others have it."""
        with self._mutex:
            self._base.close()
            self._lock.close()

    def accept(self, id: str, number: float, item: list[Any]) -> int:
        """Keep a waiting prompt; on disk when this returns. An ended one of the same id goes.

        Returns:
            Its place among prompts of the same number, counting up.

        Raises:
            ZImageError: ``ZI-PROMPT-TWICE`` while one of this id waits or runs;
                ``ZI-QUEUE-FILE`` when the disk does not take it.
        """
        text = json.dumps(item)
        with self._transaction("FULL"):
            self._drop(id)
            try:
                cursor = self._base.execute(
                    "INSERT INTO prompts (id, number, state, item) VALUES (?, ?, 'waiting', ?)",
                    (id, number, text),
                )
            except sqlite3.IntegrityError:
                raise ZImageError("ZI-PROMPT-TWICE", found=id) from None
            return cursor.lastrowid or 0

    def begin(self, id: str) -> None:
        """A waiting prompt runs now."""
        with self._transaction():
            self._base.execute("UPDATE prompts SET state = 'running' WHERE id = ?", (id,))

    def give_back(self, id: str) -> None:
        """A running prompt waits again, and that is no death of its process."""
        statement = "UPDATE prompts SET state = 'waiting' WHERE id = ? AND state = 'running'"
        with self._transaction():
            self._base.execute(statement, (id,))

    def end(self, id: str, result: dict[str, Any]) -> list[str]:
        """Keep a prompt's result; returns ids of history entries that had to go for it."""
        text = json.dumps(result, default=repr)  # a node may have put anything there
        with self._transaction():
            latest = self._base.execute(LATEST).fetchone()[0] or 0.0
            cursor = self._base.execute(
                "UPDATE prompts SET state = 'ended', result = ?, ended = ? "
                "WHERE id = ? AND state != 'ended' RETURNING length(item)",
                (text, max(self.clock(), latest), id),  # in order, whatever the clock does
            )
            for (size,) in cursor.fetchall():
                self._count, self._bytes = self._count + 1, self._bytes + size + len(text)
            return self._forget()

    def remove(self, ids: Iterable[str], state: str) -> None:
        """Take prompts in a state out of the file."""
        with self._transaction():
            for id in ids:
                if state == "ended":
                    self._drop(id)
                else:
                    statement = "DELETE FROM prompts WHERE id = ? AND state = ?"
                    self._base.execute(statement, (id, state))

    def recover(self) -> list[Row]:
        """Everything there is, oldest first; what was running then waits, with one death more."""
        with self._transaction("FULL"):
            self._base.execute(
                "UPDATE prompts SET state = 'waiting', deaths = deaths + 1 WHERE state = 'running'"
            )
            self._forget()
            rows = self._base.execute(
                "SELECT seq, id, number, state, deaths, item, result FROM prompts "
                "ORDER BY coalesce(ended, 0), seq"
            ).fetchall()
        return [
            Row(seq, id, number, state, deaths, json.loads(item), json.loads(result or "null"))
            for seq, id, number, state, deaths, item, result in rows
        ]

    def _forget(self) -> list[str]:
        """Drop the oldest entries of history until the limits hold."""
        gone: list[str] = []
        while row := self._base.execute(OLDEST).fetchone():
            over = self._count > self.limits.count or self._bytes > self.limits.bytes
            if not over and row[1] >= self.clock() - self.limits.seconds:
                break
            self._drop(row[0])
            gone.append(row[0])
        return gone

    def _drop(self, id: str) -> None:
        cursor = self._base.execute(
            "DELETE FROM prompts WHERE state = 'ended' AND id = ? "
            "RETURNING length(item) + length(result)",
            (id,),
        )
        for (size,) in cursor.fetchall():
            self._count, self._bytes = self._count - 1, self._bytes - size

    @contextmanager
    def _transaction(self, synchronous: str = "NORMAL") -> Iterator[None]:
        with self._told(), self._mutex:
            counted = self._count, self._bytes
            self._base.execute(f"PRAGMA synchronous={synchronous}")
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._base.execute("COMMIT")
            except BaseException:
                self._count, self._bytes = counted
                if self._base.in_transaction:  # SQLite ends it by itself when the disk is full
                    self._base.execute("ROLLBACK")
                raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise ZImageError("ZI-QUEUE-FILE", path=self.path, found=error) from error
