"""Requests for packs in sandboxes, forwarded to the pack if no other route has the path.

The host's router is always tried first, so no pack can take over a path that ComfyUI or another
pack serves. Below ``/zimage/sandbox/<pack>``, each path of a pack is served in any case.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from ...errors import ZImageError
from ...http_body import read
from ..host.pack import Pack
from ..protocol import messages as m
from . import header_filter
from .forward import Forwarder
from .route_match import LONGEST, claims

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

PREFIX = "/zimage/sandbox"
LARGEST_REQUEST = 32 * 2**20
"""Bytes of a body."""
MAX_ROUTES = 1000
STATUS = {
    "ZI-REQUEST": 400,
    "ZI-SANDBOX-RELOAD": 400,
    "ZI-ORIGIN": 403,
    "ZI-SANDBOX-LINK": 403,
    "ZI-SANDBOX-UNKNOWN": 404,
    "ZI-SANDBOX-ROUTE-NONE": 404,
    "ZI-REQUEST-LARGE": 413,
    "ZI-REQUEST-TYPE": 415,
    "ZI-SANDBOX-ROUTE-SOCKET": 501,
    "ZI-SANDBOX-ROUTE-STREAM": 501,
    "ZI-SANDBOX-QUARANTINE": 503,
    "ZI-SANDBOX-START": 503,
    "ZI-SANDBOX-ROUTE-BUSY": 503,
    "ZI-SANDBOX-ROUTE-SLOW": 504,
}
"""HTTP status of each error; 502 for the others."""


@dataclass(frozen=True)
class Entry:
    """The routes and folders of one pack.

    Attributes:
        pack: the pack.
        routes: method and path of each, as registered.
        static: real folders inside the pack, by the prefix of their paths.
    """

    pack: Pack
    routes: tuple[tuple[str, str], ...]
    static: dict[str, str]

    @property
    def shown(self) -> list[tuple[str, str]]:
        """The routes without the HEAD routes that aiohttp adds to GET routes."""
        return [
            (method, path)
            for method, path in self.routes
            if method != "HEAD" or ("GET", path) not in self.routes
        ]


class Routes:
    """The routes of all packs in sandboxes.

    Args:
        forwarder: sends a request to a pack's process.
    """

    def __init__(self, forwarder: Forwarder | None = None) -> None:
        self.entries: dict[str, Entry] = {}
        self.forwarder = forwarder or Forwarder()

    def add(self, pack: Pack, info: m.PackInfo, static: dict[str, str]) -> None:
        """Serve what a pack has registered.

        Args:
            pack: the pack.
            info: its description.
            static: folders that were checked.
        """
        routes = [
            (method, path)
            for method, path in info.routes
            if path.startswith("/") and len(path) <= LONGEST
        ]
        self.entries[pack.name] = Entry(pack, tuple(routes[:MAX_ROUTES]), static)

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Try the packs if the host has no route for the request; the innermost middleware."""
        response = await self._coded(self._any_pack(request)) if _is_free(request) else None
        return await handler(request) if response is None else response

    async def direct(self, request: web.Request) -> web.StreamResponse:
        """Handle ``/zimage/sandbox/<pack>/…``."""
        response = await self._coded(self._named_pack(request))
        assert response is not None  # noqa: S101  it raises instead
        return response

    async def _coded(
        self, answer: Awaitable[web.StreamResponse | None]
    ) -> web.StreamResponse | None:
        try:
            return await answer
        except ZImageError as error:
            return refusal(error)

    async def _any_pack(self, request: web.Request) -> web.StreamResponse | None:
        for entry in self.entries.values():
            for target in _targets(request.rel_url.raw_path):
                response = await self._response(entry, request, target)
                if response is not None:
                    return response
        return None

    async def _named_pack(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["pack"]
        entry = self.entries.get(name)
        if entry is None:
            known = ", ".join(self.entries) or "-"
            raise ZImageError("ZI-SANDBOX-UNKNOWN", found=name[:200], expected=known)
        folders = 5 if request.rel_url.raw_path.startswith("/api/") else 4
        target = "/" + request.rel_url.raw_path.split("/", folders)[folders]
        response = await self._response(entry, request, target)
        if response is None:
            asked = f"{request.method} {target[:200]}"
            known = ", ".join(f"{method} {path}" for method, path in entry.shown[:20]) or "-"
            raise ZImageError("ZI-SANDBOX-ROUTE-NONE", pack=name, found=asked, expected=known)
        return response

    async def _response(
        self, entry: Entry, request: web.Request, target: str
    ) -> web.StreamResponse | None:
        """Return a pack's response for a percent-encoded path; None if it has no route for it."""
        if target.startswith("//"):
            return None  # URL parsers would read a server's name
        path = unquote(target)
        if request.method in {"GET", "HEAD"}:
            for prefix, folder in entry.static.items():
                if (file := _file(folder, prefix, path)) is not None:
                    return web.FileResponse(file)
        if not any(_matches(request.method, *route, target) for route in entry.routes):
            return None
        if "upgrade" in request.headers.get("Connection", "").lower():
            raise ZImageError("ZI-SANDBOX-ROUTE-SOCKET", pack=entry.pack.name)
        body = await read(request, LARGEST_REQUEST)
        query = request.rel_url.raw_query_string
        full_target = f"{target}?{query}" if query else target
        message = header_filter.request_message(request, full_target, body)
        answer = await self.forwarder.ask(entry.pack, message)
        return None if answer is None else header_filter.response(entry.pack.name, answer)


def refusal(error: ZImageError) -> web.Response:
    """Return the response for an error, in both languages."""
    texts = {"code": error.code, "zh": error.chinese, "en": error.english}
    return web.json_response({"error": texts}, status=STATUS.get(error.code, 502))


def _is_free(request: web.Request) -> bool:
    """Return whether no route matches, or only the page's folder, which has no such file."""
    match: Any = request.match_info
    if match.http_exception is not None:
        return True
    resource = match.route.resource
    if not isinstance(resource, web.StaticResource) or resource.canonical not in {"", "/"}:
        return False
    folder = resource.get_info()["directory"]
    return not os.path.isfile(os.path.join(folder, match["filename"].replace("\0", "")))


def _targets(path: str) -> Iterator[str]:
    """Yield a path, and the path without ``/api``, which ComfyUI adds to every route."""
    yield path
    if path.startswith("/api/"):
        yield path[4:]


def _matches(request_method: str, method: str, pattern: str, path: str) -> bool:
    return method in {request_method, "*"} and claims(pattern, path)


def _file(folder: str, prefix: str, path: str) -> str | None:
    """Return the file of a decoded path in a folder; None if it is outside or missing."""
    if not path.startswith(prefix + "/") or "\0" in path:
        return None
    real = os.path.realpath(os.path.join(folder, path[len(prefix) + 1 :].lstrip("/")))
    inside = real.startswith(folder + os.sep)
    return real if inside and os.path.isfile(real) else None
