"""The file of the queue: SQLite with a write-ahead log (WAL), open in one process at a time.

A transaction does not wait for the disk (``synchronous=NORMAL``): it survives the process, but not
a power cut. :meth:`Database.sync` makes all transactions before it durable. It syncs the log, as
``synchronous=FULL`` does inside each transaction.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from ...errors import ZImageError
from ...errors.bilingual import Bilingual

log = logging.getLogger(__name__)

CLOSED = Bilingual("已关闭", "closed")
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
        failed: whether an error came since :meth:`works` was true.
    """

    connection: sqlite3.Connection

    def __init__(self, folder: Path) -> None:
        """Leave the file in this folder closed."""
        self.path = folder / "queue.sqlite"
        self.refused: ZImageError | None = self.error(CLOSED)
        self.failed = False
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
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as undo:
            self._lock = _lock(self.path.with_name("queue.lock"), patience)
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
            self.load()
            self._log = os.open(f"{self.path}-wal", os.O_RDWR)
            size = min(RESERVE, shutil.disk_usage(self.path.parent).free // 4)
            with suppress(OSError):  # a quota, or no space
                os.posix_fallocate(self._log, 0, size)  # SQLite ignores what follows its last frame
            _sync_folder(self.path.parent)
            self._inode = self.path.stat().st_ino
            self._close = undo.pop_all()
            self._close.callback(os.close, self._log)

    def load(self) -> None:
        """Read a file that has just been opened; an error refuses it."""

    def close(self) -> None:
        """Close the file and release its lock."""
        with self._mutex:
            if self.refused is None:
                self.refused = self.error(CLOSED)
                self._close.close()

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

    def works(self) -> bool:
        """Return whether a prompt would be kept; after a failure, try a small write."""
        try:
            with self.access() as connection:
                self.check()
                if self.failed:
                    ((version,),) = connection.execute("PRAGMA user_version").fetchall()
                    connection.execute(f"PRAGMA user_version={version}")
                    self.sync()
        except ZImageError:
            return False
        self.failed = False
        return True

    def check(self) -> None:
        """Check that a new prompt would be kept, inside :meth:`access`.

        SQLite keeps writing to a file that was deleted.
        """
        if self.path.stat().st_ino != self._inode:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        if shutil.disk_usage(self.path.parent).free < SPARE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def sync(self) -> None:
        """Make all transactions until now durable; other threads can write meanwhile."""
        with self.coded():
            os.fdatasync(self._log)

    @contextmanager
    def coded(self) -> Iterator[None]:
        """Give errors of SQLite, the system and JSON the code of the file."""
        try:
            yield
        except (sqlite3.Error, OSError, ValueError) as error:  # ValueError: a text is not JSON
            self.failed = True
            raise self.error(error) from error

    def error(self, found: object) -> ZImageError:
        """Return an error that names the file."""
        return ZImageError("ZI-QUEUE-FILE", path=self.path, found=found)


@contextmanager
def logged_errors() -> Iterator[None]:
    """Log errors of a step that is also in memory: they cost durability, not the prompt."""
    try:
        yield
    except ZImageError as error:
        log.error("Z-Image: %s", error)


def _sync_folder(folder: Path) -> None:
    """Make the names of new files durable; syncing a file does not have to include its name."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some file systems cannot sync a folder
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lock(path: Path, patience: float) -> IO[bytes]:
    """Lock a file for this process, and write the process's number into it."""
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > until:
                with file:
                    found = file.readline().decode("ascii", "replace").strip() or "?"
                raise ZImageError("ZI-QUEUE-TAKEN", path=path.parent, found=found) from None
        time.sleep(0.05)  # flock(2) has no time limit, and its end is no event
    with suppress(OSError):  # a full disk; the number is only for messages
        os.pwrite(file.fileno(), b"%-20d\n" % os.getpid(), 0)
    return file


_OPEN: weakref.WeakSet[Database] = weakref.WeakSet()


def _disown_all() -> None:
    for database in _OPEN:
        database.disown()


os.register_at_fork(after_in_child=_disown_all)
