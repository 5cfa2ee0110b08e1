"""What guardian and server say to each other: JSON messages, and sockets, over a Unix socket.

The guardian listens and servers connect, so that a server outlives its guardian and finds the
next one at the same place. Messages from a server:

- ``hello``: ``{"hello": "starting" | "ready" | "active", "mode", "notes"}``; an active one hands
  over its listening sockets, for a guardian that did not start it, has been told the mode, and has
  a file for the ids of the prompts that run;
- ``{"beat": {"loop", "resident", "running", "waiting", "models", "worker", "rest"}}``, once a
  second; ``worker`` says whether the thread that runs prompts lives, None while that cannot be
  known; ``rest`` is ``{"prompts", "resident", "models"}`` when memory was last given back;
- ``{"replace": reason}``, ``{"kill": reason}`` and ``{"sick": reason}``: it asks to be replaced,
  in order, at once, or at once since its GPU has failed.

From the guardian: ``{"go": true}`` with the listening sockets, ``{"drain": seconds}``, and
``{"stranger": true}`` for a process that is none of its servers.
"""

from __future__ import annotations

import array
import json
import os
import signal
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STACKS = signal.SIGUSR2
"""Makes a server that has said hello write the stacks of all its threads into its log."""
LONGEST = 2**16
MOST_SOCKETS = 16
Message = dict[str, Any]


class Peer:
    """One end of a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection

    def fileno(self) -> int:
        """For selectors."""
        return self.connection.fileno()

    @property
    def pid(self) -> int:
        """The process at the other end, as the kernel says (``SO_PEERCRED``)."""
        form = "3i"
        size = struct.calcsize(form)
        found = self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        return struct.unpack(form, found)[0]

    def send(self, message: Message, sockets: Sequence[socket.socket] = ()) -> bool:
        """False when the other end is gone or does not read."""
        data = json.dumps(message).encode()
        numbers = array.array("i", [one.fileno() for one in sockets])
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers)] if sockets else []
        try:
            self.connection.sendmsg([data], rights)
        except OSError:
            return False
        return True

    def receive(self) -> tuple[Message, list[socket.socket]] | None:
        """The next message and the sockets that came with it; None at the end.

        Raises:
            TimeoutError: nothing came within the connection's timeout.
        """
        try:
            data, rights, _, _ = self.connection.recvmsg(
                LONGEST, socket.CMSG_SPACE(MOST_SOCKETS * array.array("i").itemsize)
            )
        except TimeoutError:
            raise
        except OSError:
            return None
        sockets = [_private(number) for number in _numbers(rights)]
        if not data:
            return None
        try:
            message = json.loads(data)
        except ValueError:
            message = None
        return (message if isinstance(message, dict) else {}), sockets

    def close(self) -> None:
        """Close this end."""
        self.connection.close()


def _private(number: int) -> socket.socket:
    """A received socket, which no process started from here may keep."""
    os.set_inheritable(number, False)
    return socket.socket(fileno=number)


def _numbers(rights: Sequence[tuple[int, int, bytes]]) -> list[int]:
    numbers = array.array("i")
    for level, kind, data in rights:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
    return list(numbers)


def listen(path: Path) -> socket.socket:
    """A socket that servers find at ``path``; nobody but this user may connect."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with _short(path) as name:
        listener.bind(name)
    path.chmod(0o600)
    listener.listen()
    listener.setblocking(False)
    return listener


def connect(path: Path, timeout: float) -> Peer:
    """The guardian at ``path``.

    Raises:
        OSError: there is none.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.settimeout(timeout)
        with _short(path) as name:
            connection.connect(name)
    except BaseException:
        connection.close()
        raise
    return Peer(connection)


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name for ``path`` that fits into the 107 bytes that a Unix socket's may have."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
