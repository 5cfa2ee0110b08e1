"""The file of the queue: SQLite with a write-ahead log (WAL), open in one process at a time.

A transaction does not wait for the disk (``synchronous=NORMAL``). It survives the end of the
process, and a power cut takes it along. :meth:`Database.sync` makes everything before it durable:
it syncs the log, as ``synchronous=FULL`` does inside each transaction. Outside a transaction, other
threads can write while the disk works.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from ...errors import Said, ZImageError

CLOSED = Said("closed", "已关闭")
RESERVE = 8 * 2**20
"""Bytes of the log that exist from the start, so that a full disk still takes small changes.

SQLite writes the log from its front again after 4 MiB.
"""
SPARE = 2**16
"""Bytes that a new prompt leaves free on the disk, for the same reason."""


class Database:
    """The open file, its lock, and the codes of its errors. Any thread can call any method.

    Attributes:
        path: ``queue.sqlite`` in its folder.
        refused: why the file is not open; None while it is.
        connection: for the inside of :meth:`access`; each statement is a transaction.
    """

    connection: sqlite3.Connection

    def __init__(self, folder: Path, prepare: Callable[[sqlite3.Connection], None]) -> None:
        """Leave the file closed.

        Args:
            folder: of the file and its lock.
            prepare: reads a file that has just been opened; an error refuses the file.
        """
        self.path = folder / "queue.sqlite"
        self.refused: ZImageError | None = self._error(CLOSED)
        self._prepare = prepare
        self._mutex = threading.RLock()

    def open(self, patience: float = 0.0) -> None:
        """Open the file unless it is open; write nothing to a valid one.

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
                with self.coded():
                    self._open(patience)
            except ZImageError as error:
                self.refused = error
                raise
            self.refused = None
            _OPEN.add(self)

    def _open(self, patience: float) -> None:
        folder = self.path.parent
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as undo:
            self._lock = _lock(folder, patience)
            undo.callback(self._lock.close)
            if self.path.exists():  # SQLite opens a file that it cannot write
                os.close(os.open(self.path, os.O_RDWR))
            self.connection = sqlite3.connect(
                self.path, isolation_level=None, check_same_thread=False
            )
            undo.callback(self.connection.close)
            self.connection.execute("PRAGMA journal_mode=WAL")
            self.connection.execute("PRAGMA synchronous=NORMAL")
            self.connection.execute("PRAGMA cache_size=-512")  # KiB; the system caches as well
            self._prepare(self.connection)
            self._log = os.open(f"{self.path}-wal", os.O_RDWR)
            undo.callback(os.close, self._log)
            self._reserve()
            self._inode = self.path.stat().st_ino
            undo.pop_all()

    def _reserve(self) -> None:
        """Give the log blocks on the disk; SQLite ignores what follows its last frame."""
        size = min(RESERVE, _free(self.path.parent) // 4)
        if size > 0:
            with suppress(OSError):  # a quota, say
                os.posix_fallocate(self._log, 0, size)

    def close(self) -> None:
        """Close the file and release its lock."""
        with self._mutex:
            if self.refused is None:
                self.refused = self._error(CLOSED)
                self.connection.close()
                os.close(self._log)
                self._lock.close()

    def disown(self) -> None:
        """Leave the file to the parent, in a forked child.

        The lock is released when all processes have closed it. The connection stays open: closing
        it would write, and a child does not inherit its locks.
        """
        self.refused = ZImageError("ZI-QUEUE-TAKEN", path=self.path.parent, found=os.getppid())
        self._lock.close()

    @contextmanager
    def access(self) -> Iterator[sqlite3.Connection]:
        """Give the connection to one thread; errors get a code."""
        self.check_open()  # before the mutex, which a fork can leave locked
        with self.coded(), self._mutex:
            yield self.connection

    def check_open(self) -> None:
        """Raise why the file is not open, unless it is."""
        if self.refused is not None:
            raise self.refused.with_traceback(None)

    def check(self) -> None:
        """Check that a new prompt would be kept, inside :meth:`access`.

        SQLite keeps writing to a file that was deleted.
        """
        if self.path.stat().st_ino != self._inode:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        if _free(self.path.parent) < SPARE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def sync(self) -> None:
        """Make all transactions until now durable; call it outside :meth:`access`."""
        with self.coded():
            os.fdatasync(self._log)

    @contextmanager
    def coded(self) -> Iterator[None]:
        """Give errors of SQLite, the system and JSON the code of the file."""
        try:
            yield
        except (sqlite3.Error, OSError, ValueError) as error:  # ValueError: a text is not JSON
            raise self._error(error) from error

    def _error(self, found: object) -> ZImageError:
        return ZImageError("ZI-QUEUE-FILE", path=self.path, found=found)


def _lock(folder: Path, patience: float) -> IO[bytes]:
    """Lock a folder for this process, and write its number into the lock file."""
    with ExitStack() as undo:
        descriptor = os.open(folder / "queue.lock", os.O_RDWR | os.O_CREAT, 0o666)
        file = os.fdopen(descriptor, "r+b", buffering=0)
        undo.callback(file.close)
        until = time.monotonic() + patience
        while not _try_lock(file):
            if time.monotonic() > until:
                found = file.readline().decode("ascii", "replace").strip()
                raise ZImageError("ZI-QUEUE-TAKEN", path=folder, found=found or "?")
            time.sleep(0.05)  # flock(2) has no time limit, and its end is no event
        with suppress(OSError):  # a full disk; the number is only for messages
            os.pwrite(file.fileno(), b"%-20d\n" % os.getpid(), 0)
        undo.pop_all()
    return file


def _try_lock(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _free(folder: Path) -> int:
    """Bytes that this user can write to the disk of a folder."""
    disk = os.statvfs(folder)
    return (disk.f_bavail if os.geteuid() else disk.f_bfree) * disk.f_frsize


_OPEN: weakref.WeakSet[Database] = weakref.WeakSet()


def _disown_all() -> None:
    for database in _OPEN:
        database.disown()


os.register_at_fork(after_in_child=_disown_all)
