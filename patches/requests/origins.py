"""Pages of other sites cannot use the server through the browser of a user.

The host compares Origin with Host where Host means loopback. Two kinds of requests pass that check:

``Origin: null`` (sandboxed frames, files). It may neither change anything nor open a WebSocket, and
neither may what a browser marks ``Sec-Fetch-Site: cross-site``; ``--enable-cors-header`` allows the
origins that it names.

DNS rebinding: a name in the attacker's domain resolves to 127.0.0.1, so that Host and Origin agree.
A server that listens on loopback alone refuses a browser whose Host is a name that somebody else
could own, if

- the port in Host is the port at which the request arrived: the browser is connected to this server
  directly, while a reverse proxy in between has its own port (or address) in Host; or
- it has an Origin without encryption and no header of a proxy (``Forwarded``, ``X-Forwarded-…``,
  ``X-Real-IP``, ``Via``).

So reverse proxies work as before: with TLS always, without TLS when they add one of these headers.
All other names are set in ``$ZIMAGE_HOSTS``. Nobody can own a name without a dot or with one of the
:data:`RESERVED` endings. Browsers send ``Accept-Language`` with every request and no script can
remove it, so that programs (curl, Python) are not judged, whatever Host they send.
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
from ..base.middleware_slot import Gate, Slot
from ..base.registry import About

CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
RESERVED = frozenset({"localhost", "local", "internal", "test", "arpa"})
"""Endings that nobody can register: RFC 6761, 6762, 8375, ICANN's resolution on .internal."""
BROWSER = ("Origin", "Sec-Fetch-Site", "Accept-Language")
FORWARDED = (
    "Forwarded",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Real-IP",
    "Via",
)
PORTS = {"http": 80, "https": 443}

ABOUT = About(
    part="origins",
    bare_host="`Origin: null` and DNS rebinding (Host and Origin both of another site) are "
    "accepted.",
    here="403. Reverse proxies and programs pass; other host names go into `ZIMAGE_HOSTS`.",
)


@dataclass(frozen=True)
class Rules:
    """What a server expects of its requests.

    Attributes:
        loopback: True when it listens on loopback alone.
        cors: the origin that other sites' pages may have, "*" for any, "" for none.
        hosts: names of this server, in lower case.
    """

    loopback: bool
    cors: str = ""
    hosts: frozenset[str] = frozenset()

    def judge(self, method: str, headers: Mapping[str, str], scheme: str, port: int | None) -> None:
        """Judge a request that arrived at a port (None: no TCP).

        Raises:
            ZImageError: ``ZI-ORIGIN`` or ``ZI-HOST-NAME``.
        """
        origin = headers.get("Origin", "").strip().lower()
        foreign = origin == "null" or headers.get("Sec-Fetch-Site") == "cross-site"
        acts = method in CHANGING or "websocket" in headers.get("Upgrade", "").lower()
        if foreign and acts and self.cors not in ("*", origin):
            raise ZImageError("ZI-ORIGIN", found=origin or "-")
        if self.loopback and any(name in headers for name in BROWSER):
            self._judge_host(origin, headers, scheme, port)

    def _judge_host(
        self, origin: str, headers: Mapping[str, str], scheme: str, port: int | None
    ) -> None:
        host = headers.get("Host", "")
        name, host_port = _split(host)
        if not _ownable(name) or name in self.hosts:
            return
        direct = (host_port or PORTS.get(scheme)) == port
        forwarded = any(header in headers for header in FORWARDED)
        if direct or (origin.startswith("http:") and not forwarded):
            raise ZImageError("ZI-HOST-NAME", found=host[:100])


def create(slot: Slot) -> Gate:
    """Return the middleware for the running server."""
    arguments = getattr(sys.modules.get("comfy.cli_args"), "args", None)
    rules = read_rules(arguments, Settings.from_environment().hosts)

    async def judge(request: web.Request) -> None:
        transport = request.transport
        address = transport.get_extra_info("sockname") if transport is not None else None
        port = address[1] if isinstance(address, tuple) else None
        rules.judge(request.method, request.headers, request.scheme, port)

    return Gate(slot, judge)


def read_rules(arguments: Any, hosts: frozenset[str]) -> Rules:
    """Return the rules for the host's command line; raise ``ZI-PATCH-SEAM`` for an unknown one."""
    listen = getattr(arguments, "listen", None)
    if not isinstance(listen, str) or not hasattr(arguments, "enable_cors_header"):
        raise ZImageError(
            "ZI-PATCH-SEAM",
            name="comfy.cli_args.args",
            found=listen,
            expected="listen, enable_cors_header",
        )
    loopback = all(_is_loopback(address.strip()) for address in listen.split(","))
    return Rules(loopback, (arguments.enable_cors_header or "").lower(), hosts)


def _split(host: str) -> tuple[str, int | None]:
    """Return the name in lower case and the port of a Host header; ("", None) if it is invalid."""
    try:
        parts = urlsplit(f"//{host}")
        return (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return "", None


def _ownable(name: str) -> bool:
    """Return whether somebody else could own a name in the public DNS."""
    return "." in name and name.rpartition(".")[2] not in RESERVED and _address(name) is None


def _is_loopback(listen: str) -> bool:
    address = _address(listen)
    return listen == "localhost" or (address is not None and address.is_loopback)


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
