"""Accepted prompts on disk: SQLite, one row for each prompt from acceptance to its last history.

What was answered with 200 has to outlive the machine, so :meth:`Store.accept` returns after an
``fsync`` (WAL, ``synchronous=FULL``). That a prompt runs or has ended need only outlive the
process; after a power cut it would be run again, so neither waits for the disk. They are one write
to a page (:mod:`.running`), and :meth:`Store.flush` brings ends to the database when there is time.
A single process may have the file open.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import shutil
import sqlite3
import threading
import time
import weakref
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...errors import Said, ZImageError
from .running_page import Running

log = logging.getLogger(__name__)

SCHEMA = """
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
"""
ROW = "SELECT seq, id, number, deaths, item, result FROM prompts WHERE id = ?"
END = "UPDATE prompts SET state = 'ended', result = ?, ended = ? WHERE id = ?"
OTHERS = (
    "SELECT seq, id, number, deaths, item, result FROM prompts WHERE state != 'ended' ORDER BY seq"
)
DIED = "UPDATE prompts SET deaths = deaths + 1 WHERE id = ? AND state = 'waiting'"
RAN = "UPDATE prompts SET state = 'waiting', deaths = deaths + 1 WHERE state = 'running'"
"""In files of an earlier version, what runs is marked in its row."""
VERSION = 1
CLOSED = Said("closed", "已关闭")
MIB = 2**20
LOG = 1000 * 4096
"""Bytes of SQLite's log when it begins again at its front."""
SPARE = 16 * LOG
"""Bytes that have to be free before the log is made that long."""
CONNECTION: dict[str, Any] = {"isolation_level": None, "check_same_thread": False}
"""Each statement by itself is a transaction: most steps are one, and one call of SQLite."""


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
        counted: whether the host has counted its number; else it was asked for.
    """

    seq: int
    id: str
    number: float
    deaths: int
    item: list[Any]
    result: dict[str, Any] | None
    counted: bool


class Store:
    """The file; every step of a prompt is one transaction. Any thread may call any method.

    Attributes:
        sizes: of prompts that have ended, by id, oldest first: when, and how many bytes.
        refused: why the file is not open; None while it is.
    """

    def __init__(
        self,
        folder: Path,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.time,
        patience: float | None = 0.0,
    ) -> None:
        """Open or make ``queue.sqlite`` in a folder.

        Args:
            folder: of the file and its lock.
            limits: of the history.
            clock: seconds since 1970.
            patience: as :meth:`open` has it; None to leave that to the caller.

        Raises:
            ZImageError: as :meth:`open`.
        """
        self.path = folder / "queue.sqlite"
        self.limits, self.clock, self._mutex = limits or Limits(), clock, threading.RLock()
        self.sizes: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._failed = False  # the last time that a prompt was to be kept
        self.refused: ZImageError | None = ZImageError(
            "ZI-QUEUE-FILE", path=self.path, found=CLOSED
        )
        if patience is not None:
            self.open(patience)

    def open(self, patience: float = 0.0) -> None:
        """Open the file where it is not; nothing is written to one that is as it should be.

        Args:
            patience: seconds to wait for another process that has it open.

        Raises:
            ZImageError: ``ZI-QUEUE-TAKEN`` when another process has it open, ``ZI-QUEUE-FILE``
                when it cannot be read or written.
        """
        with self._mutex:
            if self.refused is None:
                return
            try:
                with self._told():
                    self._take(patience)
            except ZImageError as error:
                self.refused = error
                raise
            self.refused = None
            _OPEN.add(self)

    def _take(self, patience: float) -> None:
        folder = self.path.parent
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as undo:
            lock = os.open(folder / "queue.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            self._lock = os.fdopen(lock, "r+b", buffering=0)
            undo.callback(self._lock.close)
            until = time.monotonic() + patience
            while not self._locked():
                if time.monotonic() > until:
                    found = self._lock.readline().decode("ascii", "replace").strip()
                    raise ZImageError("ZI-QUEUE-TAKEN", path=folder, found=found or "?")
                time.sleep(0.05)  # flock(2) has no time limit, and its end is no event
            with suppress(OSError):  # a full disk; this is only for who is refused
                os.pwrite(lock, b"%-20d\n" % os.getpid(), 0)
            self.sizes.clear()
            self._bytes = 0
            self._lengths: dict[str, int] = {}  # of items that have not ended
            self._running = Running(folder / "queue.running")
            undo.callback(self._running.close)
            if self.path.exists():  # SQLite would open what it cannot write
                os.close(os.open(self.path, os.O_RDWR))
            self._base = sqlite3.connect(self.path, **CONNECTION)
            undo.callback(self._base.close)
            self._open()
            self._inode = self.path.stat().st_ino
            undo.pop_all()

    def _locked(self) -> bool:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _open(self) -> None:
        self._base.execute("PRAGMA journal_mode=WAL")
        self._base.execute("PRAGMA synchronous=FULL")
        self._base.execute("PRAGMA cache_size=-512")  # KiB; the system has these pages as well
        found = self._base.execute("PRAGMA user_version").fetchone()[0]
        if found not in (0, VERSION):
            raise ZImageError("ZI-QUEUE-FILE", path=self.path, found=f"user_version {found}")
        if found != VERSION:
            self._base.executescript(f"{SCHEMA} PRAGMA user_version={VERSION};")
        rows = self._base.execute(
            "SELECT id, ended, length(item) + length(result) FROM prompts "
            "WHERE state = 'ended' ORDER BY ended, seq"
        )
        for id, ended, size in rows:
            self._keep(id, ended, size)
        rest = "SELECT id, length(item) FROM prompts WHERE state != 'ended'"
        self._lengths = dict(self._base.execute(rest).fetchall())
        for id, (ended, text) in self._running.ended.items():
            if id in self._lengths:
                self._keep(id, ended, self._lengths.pop(id) + len(text))
        with suppress(sqlite3.Error):  # no room for it, whatever the disk says
            self._lengthen()

    def _lengthen(self) -> None:
        """Give the log its length, since a file that grows costs each commit more than one that
        does not: SQLite writes over it from then on."""
        log = self.path.with_name(f"{self.path.name}-wal")
        long = log.stat().st_size if log.exists() else 0
        if long > LOG / 2 or shutil.disk_usage(self.path.parent).free < SPARE:
            return
        self._base.execute("BEGIN")
        try:
            self._base.execute("CREATE TABLE room (x)")
            self._base.execute("INSERT INTO room VALUES (zeroblob(?))", (LOG,))
        finally:
            self._base.execute("ROLLBACK")

    def close(self) -> None:
        """Close the file and let others have it."""
        with self._mutex:
            if self.refused is None:
                self.refused = ZImageError("ZI-QUEUE-FILE", path=self.path, found=CLOSED)
                self._base.close()
                self._running.close()
                self._lock.close()

    def _disown(self) -> None:
        """In a child that this process has forked: the file is its parent's.

        Closing lets go of a lock only when nobody else has it. The connection stays: closing it
        would write, and its locks were not inherited.
        """
        self.refused = ZImageError("ZI-QUEUE-TAKEN", path=self.path.parent, found=os.getppid())
        self._lock.close()

    def works(self) -> bool:
        """Whether a prompt would be kept; where the last one was not, that is tried."""
        if self.refused is None and self._failed:
            with suppress(ZImageError), self._writing():
                self._look()
                self._base.execute(f"PRAGMA user_version={VERSION}")
                self._failed = False
        return self.refused is None and not self._failed

    def _look(self) -> None:
        """SQLite goes on writing to a file that was deleted."""
        if self.path.stat().st_ino != self._inode:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    def accept(self, id: str, number: float, item: list[Any]) -> int:
        """Keep a waiting prompt; on disk when this returns. An ended one of the same id goes.

        What is no JSON, which a pack may have put into it, is kept as its ``repr``. The host counts
        in integers; a number that is none was asked for, and that is kept behind the item.

        Returns:
            Its place among prompts of the same number, counting up.

        Raises:
            ZImageError: ``ZI-PROMPT-TWICE`` while one of this id waits or runs;
                ``ZI-QUEUE-FILE`` when the disk does not take it.
        """
        insert = "INSERT INTO prompts (id, number, state, item) VALUES (?, ?, 'waiting', ?)"
        with self._writing():
            asked = [] if isinstance(number, int) else ["asked"]
            text = json.dumps([*item, *asked], default=repr, skipkeys=True)
            if id in self._running.ended:
                self.flush()
            self._failed = True
            self._look()
            try:
                if id not in self.sizes:
                    place = self._base.execute(insert, (id, number, text)).lastrowid or 0
                else:
                    self._running.sync()
                    with self._transaction():
                        self._base.execute("DELETE FROM prompts WHERE id = ?", (id,))
                        place = self._base.execute(insert, (id, number, text)).lastrowid or 0
                    self._drop(id)
            except sqlite3.IntegrityError:
                self._failed = False
                raise ZImageError("ZI-PROMPT-TWICE", found=id) from None
            self._failed = False
            self._lengths[id] = len(text)
            return place

    def begin(self, id: str) -> None:
        """A waiting prompt runs now."""
        with self._writing():
            self._running.add(id)

    def give_back(self, id: str) -> None:
        """A running prompt waits again, and that is no death of its process."""
        with self._writing():
            self._running.discard(id)

    def end(self, id: str, result: dict[str, Any]) -> None:
        """Keep a prompt's result.

        One that has ended before gets another result, an unknown one is left out.
        """
        text = _text(result)
        with self._writing():
            if id in self.sizes:
                self._end_again(id, text)
            elif id in self._lengths:
                latest = next(reversed(self.sizes.values()), (0.0, 0))[0]
                ended = max(self.clock(), latest)  # in order, whatever the clock does
                if not self._running.end(id, ended, text):
                    self.flush()
                    if not self._running.end(id, ended, text):  # longer than a page
                        with self._hasty():
                            self._base.execute(END, (text, ended, id))
                        self._running.discard(id)
                self._keep(id, ended, self._lengths.pop(id) + len(text))

    def _end_again(self, id: str, text: str) -> None:
        self.flush()
        if id not in self.sizes:
            return
        with self._hasty():
            found = self._base.execute(
                "UPDATE prompts SET result = ? WHERE id = ? RETURNING length(item)", (text, id)
            ).fetchall()
        when, before = self.sizes[id]
        self.sizes[id] = when, found[0][0] + len(text)  # at its place
        self._bytes += self.sizes[id][1] - before

    def flush(self) -> None:
        """Have in the database what has ended, and no more history than the limits allow."""
        with self._writing():
            if ended := self._running.ended:
                rows = [(text, when, id) for id, (when, text) in ended.items()]
                with self._hasty(), self._transaction():
                    self._base.executemany(END, rows)
                self._running.stored()
            self._forget()

    def remove(self, ids: Iterable[str], state: str) -> None:
        """Take prompts in a state out of the file."""
        statement = "DELETE FROM prompts WHERE id = ? AND state = ?"
        with self._writing():
            self.flush()
            gone = [id for id in ids if id not in self._running.ids]
            with self._hasty(), self._transaction():
                self._base.executemany(statement, [(id, state) for id in gone])
            for id in gone:
                self._drop(id) if state == "ended" else self._lengths.pop(id, None)

    def wipe(self) -> None:
        """Take all prompts that have ended out of the file."""
        with self._writing():
            self.flush()
            with self._hasty():
                self._base.execute("DELETE FROM prompts WHERE state = 'ended'")
            self.sizes.clear()
            self._bytes = 0

    def ended(self, id: str) -> Row | None:
        """A prompt that has ended, with its result; None where there is none."""
        self._check()
        with self._told(), self._mutex:
            if id not in self.sizes:
                return None
            row = _row(self._base.execute(ROW, (id,)).fetchone())
            if id in self._running.ended:
                row = replace(row, result=json.loads(self._running.ended[id][1]))
            return row

    def recover(self) -> list[Row]:
        """All that waits, as accepted; what was running then waits, with one death more."""
        with self._writing():
            self._running.bury()
            self._count()
            rows = [_row(found) for found in self._base.execute(OTHERS).fetchall()]
            died, ended = Counter(self._running.died), self._running.ended
            rows = [row for row in rows if row.id not in ended]
            return [replace(row, deaths=row.deaths + died[row.id]) for row in rows]

    def _count(self) -> None:
        """Write deaths into the rows; what a full disk does not take, the next process counts."""
        try:
            with self._transaction():
                self._base.executemany(DIED, [(id,) for id in self._running.died])
                self._base.execute(RAN)
            self._running.forgive()
            self.flush()
        except (sqlite3.Error, OSError, ZImageError) as error:
            self._failed = True
            log.error("Z-Image: %s", ZImageError("ZI-QUEUE-FILE", path=self.path, found=error))

    def _forget(self) -> None:
        """Drop the oldest entries of history until the limits hold."""
        gone: list[str] = []
        since, count, size = self.clock() - self.limits.seconds, len(self.sizes), self._bytes
        for id, (ended, bytes) in self.sizes.items():
            if count <= self.limits.count and size <= self.limits.bytes and ended >= since:
                break
            gone.append(id)
            count, size = count - 1, size - bytes
        if gone:
            with self._hasty(), self._transaction():
                self._base.executemany("DELETE FROM prompts WHERE id = ?", [(id,) for id in gone])
        for id in gone:
            self._drop(id)

    def _keep(self, id: str, ended: float, size: int) -> None:
        self.sizes[id] = ended, size
        self._bytes += size

    def _drop(self, id: str) -> None:
        self._bytes -= self.sizes.pop(id, (0.0, 0))[1]

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Alone, with errors told with a code."""
        self._check()
        with self._told(), self._mutex:
            yield

    def _check(self) -> None:
        """Before the mutex, which nobody gives back in a child that was forked."""
        if self.refused is not None:
            raise self.refused.with_traceback(None)

    @contextmanager
    def _hasty(self) -> Iterator[None]:
        """Without waiting for the disk. Switched back at once: a client waits for accepting."""
        self._base.execute("PRAGMA synchronous=NORMAL")
        try:
            yield
        finally:
            self._base.execute("PRAGMA synchronous=FULL")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Several statements as one."""
        self._base.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._base.execute("COMMIT")
        except BaseException:
            if self._base.in_transaction:  # SQLite ends it by itself when the disk is full
                self._base.execute("ROLLBACK")
            raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValueError) as error:  # the last: what is no JSON
            raise ZImageError("ZI-QUEUE-FILE", path=self.path, found=error) from error


def _row(found: tuple[Any, ...]) -> Row:
    seq, id, number, deaths, text, result = found
    item = json.loads(text)
    return Row(seq, id, number, deaths, item[:3], json.loads(result or "null"), len(item) == 3)


def _text(result: dict[str, Any]) -> str:
    """As JSON; a node may have put anything there."""
    try:
        return json.dumps(result, default=repr, skipkeys=True)
    except (ValueError, RecursionError):  # it contains itself
        return json.dumps({**result, "outputs": {}, "meta": {}}, default=repr, skipkeys=True)


_OPEN: weakref.WeakSet[Store] = weakref.WeakSet()


def _disown_all() -> None:
    for store in _OPEN:
        store._disown()


os.register_at_fork(after_in_child=_disown_all)
