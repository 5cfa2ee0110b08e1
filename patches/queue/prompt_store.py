"""Accepted prompts on disk: one row for each prompt, from acceptance until its history is deleted.

An accepted prompt survives a power cut: :meth:`Store.accept` syncs the disk. That a prompt runs or
has ended survives the process only; after a power cut the prompt runs again.
"""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import ZImageError
from .database import Database, logged_errors
from .running_page import migrate

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
ASKED = "asked"
"""Last entry of an item in the file if the client gave the number; else the host counted it."""
_ASKED_ENDING = f'"{ASKED}"]'
LOAD = """
SELECT
    id, abs(number), substr(item, -length(:asked)) = :asked,
    state, ended, length(item) + length(result)
FROM prompts ORDER BY ended, seq
"""
ACCEPT = "INSERT OR REPLACE INTO prompts (id, number, state, item) VALUES "
BEGIN = "UPDATE prompts SET state = 'running' WHERE id = ? AND state = 'waiting'"
GIVE_BACK = "UPDATE prompts SET state = 'waiting' WHERE id = ? AND state = 'running'"
END = """
UPDATE prompts SET state = 'ended', result = ?, ended = ? WHERE id = ? RETURNING length(item)
"""
ENDED = "SELECT seq, id, number, deaths, item, result FROM prompts WHERE id = ? AND state = 'ended'"
UNFINISHED = """
SELECT seq, id, number, deaths + (state = 'running'), item, result
FROM prompts WHERE state != 'ended' ORDER BY seq
"""
REQUEUE = "UPDATE prompts SET state = 'waiting', deaths = deaths + 1 WHERE state = 'running'"
REMOVE = """
DELETE FROM prompts WHERE state = ? AND id IN (SELECT value FROM json_each(?)) RETURNING id
"""
_encode = json.JSONEncoder(default=repr, skipkeys=True).encode
"""A pack or node can put anything into a prompt or a result."""


@dataclass(frozen=True)
class Limits:
    """Limits of the history. The oldest entries are deleted while any of them is exceeded."""

    count: int = 10_000
    """Entries, as many as ComfyUI keeps."""
    bytes: int = 64 * 2**20
    """Of prompts and results together."""
    seconds: float = 30 * 86400
    """Since the end of a prompt."""


@dataclass(frozen=True)
class Row:
    """A prompt in the file.

    Attributes:
        number: an integer that the host has counted, or the float that the client gave.
        crash_count: how often the process died while this prompt was running.
        item: ``[prompt, extra_data, outputs_to_execute]``.
        result: ``outputs``, ``meta`` and ``status`` of its history, None before its end.
    """

    seq: int
    id: str
    number: float
    crash_count: int
    item: list[Any]
    result: dict[str, Any] | None


class NewPrompt(NamedTuple):
    """A prompt that is not in the file yet, with its item as JSON."""

    id: str
    number: float
    text: str


class Store(Database):
    """The rows of the file.

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
        """Open the file as :meth:`.Database.open`, or leave it closed (``patience=None``)."""
        super().__init__(folder)
        self.limits = limits or Limits()
        self.clock = clock
        self.sizes: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self.highest_number = -1
        self._bytes = 0
        self._unfinished: set[str] = set()
        if patience is not None:
            self.open(patience)

    def load(self) -> None:
        """Read what stays in memory."""
        ((version,),) = self.connection.execute("PRAGMA user_version").fetchall()
        if version not in (0, VERSION):
            raise self.error(f"user_version {version}")
        if version != VERSION:
            self.connection.executescript(SCHEMA)
        migrate(self.connection, self.path.with_name("queue.running"))
        self.sizes.clear()
        self._unfinished.clear()
        self._bytes = 0
        self.highest_number = -1
        rows = self.connection.execute(LOAD, {"asked": _ASKED_ENDING})
        for id, number, asked, state, ended, size in rows:
            if not asked:
                self.highest_number = max(self.highest_number, int(number))
            if state == "ended":
                self._keep(id, ended, size)
            else:
                self._unfinished.add(id)

    def reserve(self, id: str, number: float, item: list[Any]) -> NewPrompt:
        """Reserve the id of a prompt, and encode it for :meth:`accept`.

        A pack may have put something into it that is not JSON; its ``repr`` is kept. One thread at
        a time may call this; it does not wait for a commit of others.

        Raises:
            ZImageError: ``ZI-PROMPT-TWICE`` while a prompt of this id waits or runs,
                ``ZI-QUEUE-FILE`` for what cannot be stored, or when the file is not open.
        """
        asked = [] if isinstance(number, int) else [ASKED]
        self.check_open()
        if id in self._unfinished:
            raise ZImageError("ZI-PROMPT-TWICE", found=id)
        with self.coded():
            id.encode()  # raises for half of a surrogate pair, which would fail all of a commit
            if math.isnan(number):
                raise ValueError(f"number {number}")
            prompt = NewPrompt(id, number, _encode([*item, *asked]))
            self._unfinished.add(id)
            return prompt

    def accept(self, prompts: Sequence[NewPrompt]) -> list[int]:
        """Keep prompts, all or none; they are durable when this returns.

        A prompt replaces an ended one of the same id.

        Returns:
            Positions in the order of acceptance, counting up.

        Raises:
            ZImageError: ``ZI-QUEUE-FILE`` when the disk does not take them.
        """
        ids = [prompt.id for prompt in prompts]
        values = ", ".join(["(?, ?, 'waiting', ?)"] * len(prompts))
        try:
            with self.access() as connection:
                self.check()
                # One statement: each releases the GIL, and other threads would delay the commit.
                cursor = connection.execute(ACCEPT + values, [*chain.from_iterable(prompts)])
                end = (cursor.lastrowid or 0) + 1
                for id in ids:
                    self._drop(id)
            self.sync()
        except ZImageError:
            self._unfinished.difference_update(ids)
            self.remove(ids, "waiting")
            raise
        return list(range(end - len(ids), end))  # SQLite numbers new rows consecutively

    def begin(self, id: str) -> None:
        """Write that a waiting prompt runs."""
        with self.access() as connection:
            connection.execute(BEGIN, (id,))

    def give_back(self, id: str) -> None:
        """Write that a running prompt waits again; its process has not died of it."""
        with self.access() as connection:
            connection.execute(GIVE_BACK, (id,))

    def end(self, id: str, result: dict[str, Any]) -> None:
        """Keep a prompt's result, and no more history than the limits allow.

        A prompt that has ended before gets another result, an unknown one is ignored.
        """
        text = _result_text(result)
        with self.access() as connection:
            latest, _ = next(reversed(self.sizes.values()), (0.0, 0))
            when = max(self.clock(), latest)  # in order, even if the clock goes back
            when, _ = self.sizes.get(id, (when, 0))  # a prompt that has ended before keeps its time
            for (size,) in connection.execute(END, (text, when, id)).fetchall():
                self._keep(id, when, size + len(text))  # JSON is ASCII: characters are bytes
                self._unfinished.discard(id)
            self._trim(connection)

    def remove(self, ids: Iterable[str], state: str) -> None:
        """Delete the prompts that are in a state (``waiting`` or ``ended``)."""
        with self.access() as connection:
            for (id,) in connection.execute(REMOVE, (state, json.dumps(list(ids)))).fetchall():
                self._drop(id)
                self._unfinished.discard(id)

    def ended_prompt(self, id: str) -> Row | None:
        """Return a prompt that has ended, with its result; None without one."""
        with self.access() as connection:
            columns = connection.execute(ENDED, (id,)).fetchone()
            return None if columns is None else _row(columns)

    def requeue_unfinished(self) -> list[Row]:
        """Count a crash for each running prompt, and return it with all prompts that wait.

        The returned rows have the new counts, even if the disk cannot store them.
        """
        with self.access() as connection:
            rows = [_row(columns) for columns in connection.execute(UNFINISHED).fetchall()]
            with logged_errors(), self.coded():
                connection.execute(REQUEUE)
                self._trim(connection)
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

    def _keep(self, id: str, when: float, size: int) -> None:
        """Note the size of an ended prompt; one that is known keeps its place."""
        self._bytes += size - self.sizes.get(id, (when, 0))[1]
        self.sizes[id] = (when, size)

    def _drop(self, id: str) -> None:
        self._bytes -= self.sizes.pop(id, (0.0, 0))[1]


def _row(columns: Sequence[Any]) -> Row:
    seq, id, number, crash_count, text, result = columns
    item = json.loads(text)
    number = number if item[-1:] == [ASKED] else int(number)
    return Row(seq, id, number, crash_count, item[:3], json.loads(result or "null"))


def _result_text(result: dict[str, Any]) -> str:
    """Return a result as JSON."""
    try:
        return _encode(result)
    except (ValueError, RecursionError):  # it contains itself
        return _encode({**result, "outputs": {}, "meta": {}})
