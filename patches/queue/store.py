"""Accepted prompts on disk: one row for each prompt, from acceptance until its history is deleted.

An accepted prompt survives a power cut: :meth:`Store.accept` syncs the disk. That a prompt runs or
has ended survives the process only; after a power cut the prompt runs again.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import ZImageError
from .database import Database
from .running_page import migrate

log = logging.getLogger(__name__)

VERSION = 1
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS prompts (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    number REAL NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'running', 'ended')),
    deaths INTEGER NOT NULL DEFAULT 0,
    item TEXT NOT NULL,
    result TEXT,
    ended REAL
) STRICT;
PRAGMA user_version={VERSION};
"""
ONE = "SELECT seq, id, number, deaths, item, result FROM prompts WHERE id = ?"
UNFINISHED = """
SELECT seq, id, number, deaths, item, result, state FROM prompts
WHERE state != 'ended' ORDER BY seq
"""
REQUEUE = "UPDATE prompts SET state = 'waiting', deaths = deaths + 1 WHERE state = 'running'"
REMOVE = """
DELETE FROM prompts WHERE state = ? AND id IN (SELECT value FROM json_each(?)) RETURNING id
"""
INSERT = "INSERT OR REPLACE INTO prompts (seq, id, number, state, item) VALUES "
ASKED = "asked"
"""Follows the item of a prompt whose number the client gave; the host counts the others."""
MIB = 2**20
_encode = json.JSONEncoder(default=repr, skipkeys=True).encode
"""A pack or node can put anything into a prompt or a result."""


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
    """A prompt in the file.

    Attributes:
        item: ``[prompt, extra_data, outputs_to_execute]``.
        crash_count: how often the process died while this prompt was running.
        result: ``outputs``, ``meta`` and ``status`` of its history, None before its end.
        counted: whether the host has counted its number; else the client gave it.
    """

    seq: int
    id: str
    number: float
    crash_count: int
    item: list[Any]
    result: dict[str, Any] | None
    counted: bool


class NewPrompt(NamedTuple):
    """A prompt that is not in the file yet, with its item as JSON."""

    id: str
    number: float
    text: str


class Store:
    """The rows. Any thread can call any method.

    Attributes:
        sizes: time of the end and bytes of each ended prompt, by id, the oldest first.
        highest_number: of those that the host has counted; -1 without one.
    """

    def __init__(
        self,
        folder: Path,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.time,
        patience: float | None = 0.0,
    ) -> None:
        """Open or create ``queue.sqlite`` in a folder.

        Args:
            folder: of the file and its lock.
            limits: of the history.
            clock: seconds since 1970.
            patience: as in :meth:`.database.Database.open`; None to leave the file closed.

        Raises:
            ZImageError: as :meth:`.database.Database.open`.
        """
        self.database = Database(folder, self._load)
        self.limits = limits or Limits()
        self.clock = clock
        self.sizes: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self.highest_number = -1
        self._bytes = 0
        self._unfinished: dict[str, int] = {}  # characters of items, by id
        self._last_seq = 0
        self._failed = False  # whether the last prompt could not be kept
        if patience is not None:
            self.database.open(patience)

    def _load(self, connection: sqlite3.Connection) -> None:
        """Read what stays in memory."""
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, VERSION):
            path = self.database.path
            raise ZImageError("ZI-QUEUE-FILE", path=path, found=f"user_version {version}")
        if version != VERSION:
            connection.executescript(SCHEMA)
        migrate(connection, self.database.path.with_name("queue.running"))
        self.sizes.clear()
        self._unfinished.clear()
        self._bytes = self._last_seq = 0
        self.highest_number = -1
        rows = connection.execute(
            "SELECT seq, id, abs(number), substr(item, -8) = ?, state = 'ended', ended, "
            "length(item), length(result) FROM prompts ORDER BY ended, seq",
            (f'"{ASKED}"]',),
        )
        for seq, id, number, asked, ended, when, size, result_size in rows:
            self._last_seq = max(self._last_seq, seq)
            if not asked:
                self.highest_number = max(self.highest_number, int(number))
            if ended:
                self._add(id, when, size + result_size)
            else:
                self._unfinished[id] = size

    @property
    def path(self) -> Path:
        """The file."""
        return self.database.path

    @property
    def refused(self) -> ZImageError | None:
        """Why the file is not open; None while it is."""
        return self.database.refused

    def open(self, patience: float = 0.0) -> None:
        """Open the file, as :meth:`.database.Database.open`."""
        self.database.open(patience)

    def close(self) -> None:
        """Close the file; other processes can open it."""
        self.database.close()

    def works(self) -> bool:
        """Return whether a prompt would be kept; after a failure, try a small write."""
        try:
            with self.database.access() as connection:
                self.database.check()
                if self._failed:
                    connection.execute(f"PRAGMA user_version={VERSION}")
            if self._failed:
                self.database.sync()
        except ZImageError:
            return False
        self._failed = False
        return True

    def new_prompt(self, id: str, number: float, item: list[Any]) -> NewPrompt:
        """Encode a prompt for :meth:`accept`.

        A pack may have put something into it that is not JSON; its ``repr`` is kept.

        Raises:
            ZImageError: ``ZI-PROMPT-TWICE`` while a prompt of this id waits or runs,
                ``ZI-QUEUE-FILE`` for what has no JSON, or when the file is not open.
        """
        self.database.check_open()
        if id in self._unfinished:
            raise ZImageError("ZI-PROMPT-TWICE", found=id)
        asked = [] if isinstance(number, int) else [ASKED]
        with self.database.coded():
            return NewPrompt(id, number, _encode([*item, *asked]))

    def accept(self, prompts: Sequence[NewPrompt]) -> list[int]:
        """Keep prompts, all or none; they are durable when this returns.

        A prompt replaces an ended one of the same id.

        Returns:
            Positions in the order of acceptance, counting up.

        Raises:
            ZImageError: ``ZI-QUEUE-FILE`` when the disk does not take them.
        """
        try:
            seqs = self._insert(prompts)
            try:
                self.database.sync()
            except ZImageError:
                self.remove([prompt.id for prompt in prompts], "waiting")
                raise
        except ZImageError:
            self._failed = True
            raise
        self._failed = False
        return seqs

    def _insert(self, prompts: Sequence[NewPrompt]) -> list[int]:
        """Write rows with one statement, since each lets other threads of Python in between."""
        with self.database.access() as connection:
            self.database.check()
            seqs = [self._last_seq + 1 + index for index in range(len(prompts))]
            values = ", ".join(["(?, ?, ?, 'waiting', ?)"] * len(prompts))
            connection.execute(
                INSERT + values,
                [
                    value
                    for seq, prompt in zip(seqs, prompts, strict=True)
                    for value in (seq, *prompt)
                ],
            )
            self._last_seq = seqs[-1]
            for prompt in prompts:
                self._drop(prompt.id)
                self._unfinished[prompt.id] = len(prompt.text)
            return seqs

    def begin(self, id: str) -> None:
        """Write that a waiting prompt runs."""
        self._change("UPDATE prompts SET state = 'running' WHERE id = ? AND state = 'waiting'", id)

    def give_back(self, id: str) -> None:
        """Write that a running prompt waits again; its process has not died of it."""
        self._change("UPDATE prompts SET state = 'waiting' WHERE id = ? AND state = 'running'", id)

    def _change(self, statement: str, id: str) -> None:
        with self.database.access() as connection:
            connection.execute(statement, (id,))

    def end(self, id: str, result: dict[str, Any]) -> None:
        """Keep a prompt's result, and no more history than the limits allow.

        A prompt that has ended before gets another result, an unknown one is ignored.
        """
        text = _result_text(result)
        with self.database.access() as connection:
            if id in self.sizes:
                self._replace_result(connection, id, text)
            elif id in self._unfinished:
                latest = next(reversed(self.sizes.values()), (0.0, 0))[0]
                when = max(self.clock(), latest)  # in order, whatever the clock does
                connection.execute(
                    "UPDATE prompts SET state = 'ended', result = ?, ended = ? WHERE id = ?",
                    (text, when, id),
                )
                self._add(id, when, self._unfinished.pop(id) + len(text))
                self._trim(connection)

    def _replace_result(self, connection: sqlite3.Connection, id: str, text: str) -> None:
        ((size,),) = connection.execute(
            "UPDATE prompts SET result = ? WHERE id = ? RETURNING length(item)", (text, id)
        ).fetchall()
        when, size_before = self.sizes[id]
        self.sizes[id] = (when, size + len(text))  # keeps its place
        self._bytes += size + len(text) - size_before

    def remove(self, ids: Iterable[str], state: str) -> None:
        """Delete the prompts that are in a state (``waiting`` or ``ended``)."""
        with self.database.access() as connection:
            rows = connection.execute(REMOVE, (state, json.dumps(list(ids)))).fetchall()
            for (id,) in rows:
                self._drop(id)
                self._unfinished.pop(id, None)

    def clear_history(self) -> None:
        """Delete all prompts that have ended."""
        with self.database.access() as connection:
            connection.execute("DELETE FROM prompts WHERE state = 'ended'")
            self.sizes.clear()
            self._bytes = 0

    def ended(self, id: str) -> Row | None:
        """Return a prompt that has ended, with its result; None without one."""
        with self.database.access() as connection:
            if id not in self.sizes:
                return None
            return _row(connection.execute(ONE, (id,)).fetchone())

    def requeue_unfinished(self) -> list[Row]:
        """Return all prompts that wait; one that was running waits again, with one crash more.

        A failing disk does not take the new count; the returned rows have it all the same.
        """
        with self.database.access() as connection:
            found = connection.execute(UNFINISHED).fetchall()
            try:
                connection.execute(REQUEUE)
                self._trim(connection)
            except sqlite3.Error as error:
                self._failed = True
                log.error("Z-Image: %s", ZImageError("ZI-QUEUE-FILE", path=self.path, found=error))
        rows = []
        for *columns, state in found:
            row = _row(columns)
            crashed = state == "running"
            rows.append(replace(row, crash_count=row.crash_count + crashed))
        return rows

    def _trim(self, connection: sqlite3.Connection) -> None:
        """Delete the oldest entries of history until the limits hold."""
        ids: list[str] = []
        since = self.clock() - self.limits.seconds
        count = len(self.sizes)
        size = self._bytes
        for id, (when, bytes) in self.sizes.items():
            if count <= self.limits.count and size <= self.limits.bytes and when >= since:
                break
            ids.append(id)
            count -= 1
            size -= bytes
        if ids:
            connection.execute(REMOVE, ("ended", json.dumps(ids))).fetchall()
        for id in ids:
            self._drop(id)

    def _add(self, id: str, when: float, size: int) -> None:
        self.sizes[id] = (when, size)
        self._bytes += size

    def _drop(self, id: str) -> None:
        self._bytes -= self.sizes.pop(id, (0.0, 0))[1]


def _row(columns: Sequence[Any]) -> Row:
    seq, id, number, crash_count, text, result = columns
    item = json.loads(text)
    counted = len(item) == 3
    return Row(
        seq=seq,
        id=id,
        number=int(number) if counted else number,
        crash_count=crash_count,
        item=item[:3],
        result=json.loads(result or "null"),
        counted=counted,
    )


def _result_text(result: dict[str, Any]) -> str:
    """Return a result as JSON."""
    try:
        return _encode(result)
    except (ValueError, RecursionError):  # it contains itself
        return _encode({**result, "outputs": {}, "meta": {}})
