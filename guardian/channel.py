"""Messages between guardian and servers: JSON and sockets over a Unix socket.

The guardian listens and the servers connect. A server that outlives its guardian finds the next
one at the same path. Each message is one packet with one JSON object.

A server sends:

- ``{"hello": state, "mode": mode, "notes": path}``: its state is ``starting``, ``ready`` or
  ``active``. It is sent after each connect and each change. ``notes`` is the database that marks
  the running prompts. An active server adds its listening sockets, for a guardian that did not
  start it.
- ``{"beat": {...}}``: a heartbeat, once a second, see :mod:`.heartbeat`.
- ``{"replace": reason}``: a request to be stopped in order, once another server is ready.
- ``{"kill": reason}``: a request to be killed at once.
- ``{"sick": reason}``: the same, because the GPU has failed.

The guardian sends:

- ``{"go": true, "mode": mode}`` with the listening sockets: serve now.
- ``{"drain": seconds, "last": bool}``: stop in order. The running prompt has this time; ``last``
  says that the guardian stops, too.
- ``{"stranger": true}``: this process is none of the guardian's servers.
"""

from __future__ import annotations

import array
import json
import os
import signal
import socket
import struct
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

STACKS = signal.SIGUSR2
"""Makes a server write the stacks of all its threads into its log, once it has said hello."""
MAX_MESSAGE_BYTES = 2**16
MAX_SOCKETS = 16
CREDENTIALS = struct.Struct("3i")
"""``struct ucred``: process, user and group."""
Message = dict[str, Any]


class Peer:
    """One end of a connection."""

    def __init__(self, connection: socket.socket) -> None:
        """Take over a connection.

        Args:
            connection: a connected socket of type ``SOCK_SEQPACKET``.
        """
        self.connection = connection

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self.connection.fileno()

    @property
    def pid(self) -> int:
        """The process at the other end, as the kernel knows it (``SO_PEERCRED``)."""
        data = self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
        pid, _, _ = cast("tuple[int, int, int]", CREDENTIALS.unpack(data))
        return pid

    def send(self, message: Message, sockets: Sequence[socket.socket] = ()) -> bool:
        """Send a message and return whether the other end took it.

        Args:
            message: the JSON object.
            sockets: sockets to pass on.
        """
        data = json.dumps(message).encode()
        descriptors = array.array("i", [passed.fileno() for passed in sockets])
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)] if sockets else []
        try:
            self.connection.sendmsg([data], rights)
        except OSError:
            return False
        return True

    def receive(self) -> tuple[Message, list[socket.socket]] | None:
        """Return the next message and the sockets that came with it; None at the end.

        A packet that is no JSON object gives an empty message.

        Raises:
            TimeoutError: nothing came within the connection's timeout.
        """
        try:
            data, rights, _, _ = self.connection.recvmsg(
                MAX_MESSAGE_BYTES, socket.CMSG_SPACE(MAX_SOCKETS * array.array("i").itemsize)
            )
        except TimeoutError:
            raise
        except OSError:
            return None
        sockets = [_received_socket(descriptor) for descriptor in _descriptors(rights)]
        if not data:
            return None
        return _parse(data), sockets

    def close(self) -> None:
        """Close this end."""
        self.connection.close()


def _parse(data: bytes) -> Message:
    try:
        message: object = json.loads(data)
    except ValueError:
        return {}
    return cast("Message", message) if isinstance(message, dict) else {}


def _received_socket(descriptor: int) -> socket.socket:
    """Wrap a received descriptor and keep it from child processes."""
    os.set_inheritable(descriptor, False)
    return socket.socket(fileno=descriptor)


def _descriptors(rights: Sequence[tuple[int, int, bytes]]) -> list[int]:
    descriptors = array.array("i")
    for level, kind, data in rights:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            whole = len(data) - len(data) % descriptors.itemsize
            descriptors.frombytes(data[:whole])
    return list(descriptors)


def listen(path: Path) -> socket.socket:
    """Return a listening socket to which only this user may connect.

    Args:
        path: the path at which servers find it.
    """
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with _short_path(path) as name:
        listener.bind(name)
    path.chmod(0o600)
    listener.listen()
    listener.setblocking(False)
    return listener


def connect(path: Path, timeout: float) -> Peer:
    """Connect to the guardian.

    Args:
        path: its control socket.
        timeout: seconds for the connection and for each message.

    Raises:
        OSError: no guardian listens there.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.settimeout(timeout)
        with _short_path(path) as name:
            connection.connect(name)
    except BaseException:
        connection.close()
        raise
    return Peer(connection)


@contextmanager
def _short_path(path: Path) -> Generator[str, None, None]:
    """Give a path another name that fits into the 107 bytes of a Unix socket's address."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
