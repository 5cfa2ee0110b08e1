"""The listening sockets: opened here, or handed down by systemd (``sd_listen_fds(3)``)."""

from __future__ import annotations

import errno
import socket

from ..errors import ZImageError

BACKLOG = 4096
"""Connections that may wait while a server is replaced; the kernel's ``somaxconn`` bounds it."""
FIRST = 3
"""Descriptor of the first socket that systemd hands down."""


def inherited(count: int) -> list[socket.socket]:
    """What systemd opened for this process; ``count`` is ``$LISTEN_FDS``."""
    return [_prepared(socket.socket(fileno=FIRST + number)) for number in range(count)]


def open_all(addresses: str, port: int) -> list[socket.socket]:
    """Listen on each of ``addresses``, separated by commas, as ComfyUI does.

    Raises:
        ZImageError: ``ZI-PORT-USED`` or ``ZI-ADDRESS``.
    """
    opened: list[socket.socket] = []
    try:
        for address in addresses.split(","):
            infos = socket.getaddrinfo(
                address or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            for family, kind, protocol, _, where in dict.fromkeys(infos):
                opened.append(one := socket.socket(family, kind, protocol))
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                one.bind(where)
                port = port or one.getsockname()[1]
                one.listen(BACKLOG)
                _prepared(one)
    except OSError as error:
        for one in opened:
            one.close()
        if error.errno == errno.EADDRINUSE:
            raise ZImageError("ZI-PORT-USED", found=port) from error
        reason = error.strerror or error
        raise ZImageError("ZI-ADDRESS", found=addresses, reason=reason) from error
    return opened


def _prepared(listener: socket.socket) -> socket.socket:
    listener.setblocking(False)
    listener.set_inheritable(False)
    return listener
