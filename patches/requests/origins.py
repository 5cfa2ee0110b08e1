"""Pages of other sites cannot use the server through the browser of whoever sits in front of it.

The host compares Origin with Host where Host means loopback. Two things get past that:

``Origin: null`` (sandboxed frames, files). It may neither change anything nor open a WebSocket, and
no more may what a browser marks ``Sec-Fetch-Site: cross-site``; ``--enable-cors-header`` allows the
origins that it names.

DNS rebinding: a stranger's name that has come to mean 127.0.0.1, so that Host and Origin agree. A
server that listens on loopback alone refuses a browser whose Host is a name that a stranger could
own, if

- the port in Host is the one that the request came in at: the browser took the way to this very
  server, while a reverse proxy in between has a port (or an address) of its own in Host; or
- it carries an Origin without encryption and no proxy says that it has passed it on
  (``Forwarded``, ``X-Forwarded-…``, ``X-Real-IP``, ``Via``).

So reverse proxies work as before: with TLS always, without TLS when they add one of these headers.
Everything else is told by name in ``$ZIMAGE_HOSTS``. Nobody can own a name without a dot or with
one of the :data:`RESERVED` endings. Browsers send ``Accept-Language`` with every request and no
script can leave it out, so that programs (curl, Python) are left alone whatever Host they send.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from ...config import Settings
from ...errors import ZImageError
from ..base import comfyui
from .gate import Gate

CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
RESERVED = frozenset({"localhost", "local", "internal", "test", "arpa"})
"""Endings that nobody can register: RFC 6761, 6762, 8375, ICANN's resolution on .internal."""
BROWSER = ("Origin", "Sec-Fetch-Site", "Accept-Language")
PASSED_ON = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP",
             "Via")  # fmt: skip
PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Rules:
    """What a server expects of its requests.

    Attributes:
        loopback: True when it listens on loopback alone.
        cors: the origin that other sites' pages may have, "*" for any, "" for none.
        hosts: names that are this server's, in small letters.
    """

    loopback: bool
    cors: str = ""
    hosts: frozenset[str] = frozenset()

    def judge(self, method: str, headers: Mapping[str, str], scheme: str, port: int | None) -> None:
        """Judge a request that came in at a port (None: no TCP).

        Raises:
            ZImageError: ``ZI-ORIGIN`` or ``ZI-HOST-NAME``.
        """
        origin = headers.get("Origin", "").strip().lower()
        strange = origin == "null" or headers.get("Sec-Fetch-Site") == "cross-site"
        acts = method in CHANGING or "websocket" in headers.get("Upgrade", "").lower()
        if strange and acts and self.cors not in ("*", origin):
            raise ZImageError("ZI-ORIGIN", found=origin or "-")
        if not self.loopback or not any(name in headers for name in BROWSER):
            return
        host = headers.get("Host", "")
        name, host_port = _split(host)
        if not _ownable(name) or name in self.hosts:
            return
        here = (host_port or PORTS.get(scheme)) == port
        passed_on = any(header in headers for header in PASSED_ON)
        if here or (origin.startswith("http:") and not passed_on):
            raise ZImageError("ZI-HOST-NAME", found=host[:100])


def create() -> Gate:
    """The middleware of the running server, before all others: the host looks Host up in DNS."""
    arguments = getattr(sys.modules.get("comfy.cli_args"), "args", None)
    rules = rules_of(arguments, Settings.from_environment().hosts)

    async def judge(request: web.Request) -> None:
        transport = request.transport
        name = transport.get_extra_info("sockname") if transport is not None else None
        port = name[1] if isinstance(name, tuple) else None
        rules.judge(request.method, request.headers, request.scheme, port)

    return Gate(comfyui.server(), judge, outermost=True)


def rules_of(arguments: Any, hosts: frozenset[str]) -> Rules:
    """What the host's command line means; raises ``ZI-PATCH-SEAM`` for an unknown one."""
    listen = getattr(arguments, "listen", None)
    if not isinstance(listen, str) or not hasattr(arguments, "enable_cors_header"):
        raise ZImageError("ZI-PATCH-SEAM", name="comfy.cli_args.args", found=listen,
                          expected="listen, enable_cors_header")  # fmt: skip
    loopback = all(_is_loopback(address.strip()) for address in listen.split(","))
    return Rules(loopback, (arguments.enable_cors_header or "").lower(), hosts)


def _split(host: str) -> tuple[str, int | None]:
    """Name in small letters and port of a Host header; ("", None) for one of no use."""
    try:
        parts = urlsplit(f"//{host}")
        return (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return "", None


def _ownable(name: str) -> bool:
    """Whether a stranger could own a name in the public DNS."""
    return "." in name and name.rpartition(".")[2] not in RESERVED and _address(name) is None


def _is_loopback(listen: str) -> bool:
    address = _address(listen)
    return listen == "localhost" or (address is not None and address.is_loopback)


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
