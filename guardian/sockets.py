"""The listening sockets: opened here, or inherited from systemd (``sd_listen_fds(3)``)."""

from __future__ import annotations

import errno
import socket

from ..errors import ZImageError, system

BACKLOG = 4096
"""Connections that may wait while a server is replaced; the kernel's ``somaxconn`` bounds it."""
FIRST_INHERITED = 3
"""The first descriptor that systemd passes on."""


def inherited(count: int) -> list[socket.socket]:
    """Return the sockets that systemd opened for this process.

    Args:
        count: their number, ``$LISTEN_FDS``.
    """
    descriptors = range(FIRST_INHERITED, FIRST_INHERITED + count)
    return [_prepare(socket.socket(fileno=descriptor)) for descriptor in descriptors]


def open_all(addresses: str, port: int) -> list[socket.socket]:
    """Listen on each of several addresses, as ComfyUI does.

    Args:
        addresses: names or numbers, separated by commas.
        port: the port of all of them; 0 for any free one.

    Raises:
        ZImageError: ``ZI-PORT-USED`` or ``ZI-ADDRESS``.
    """
    opened: list[socket.socket] = []
    try:
        for address in addresses.split(","):
            infos = socket.getaddrinfo(
                address or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            for family, kind, protocol, _, socket_address in dict.fromkeys(infos):
                listener = socket.socket(family, kind, protocol)
                opened.append(listener)
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:  # ComfyUI listens on IPv4 with another socket
                    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                listener.bind(socket_address)
                port = port or listener.getsockname()[1]
                listener.listen(BACKLOG)
                _prepare(listener)
    except OSError as error:
        for listener in opened:
            listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ZImageError("ZI-PORT-USED", found=port) from error
        raise ZImageError("ZI-ADDRESS", found=addresses, reason=system.reason(error)) from error
    return opened


def _prepare(listener: socket.socket) -> socket.socket:
    """Make a listening socket fit for an event loop and keep it from child processes."""
    listener.setblocking(False)
    listener.set_inheritable(False)
    return listener
