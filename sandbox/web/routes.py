"""Requests for packs in sandboxes: handed to the pack, never in the way of anybody else's.

A pack's path is served where it registered it if nobody else has that path: the host's router is
asked first, always, so no pack can take over what ComfyUI or another pack serves. The same path
below ``/zimage/sandbox/<pack>`` is served in any case.
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
MOST_ROUTES = 1000
STATUS = {
    "ZI-REQUEST": 400, "ZI-SANDBOX-RELOAD": 400, "ZI-ORIGIN": 403,
    "ZI-SANDBOX-LINK": 403, "ZI-REQUEST-TYPE": 415,
    "ZI-SANDBOX-UNKNOWN": 404, "ZI-SANDBOX-ROUTE-NONE": 404,
    "ZI-REQUEST-LARGE": 413, "ZI-SANDBOX-ROUTE-SOCKET": 501, "ZI-SANDBOX-ROUTE-STREAM": 501,
    "ZI-SANDBOX-QUARANTINE": 503, "ZI-SANDBOX-START": 503, "ZI-SANDBOX-ROUTE-BUSY": 503,
    "ZI-SANDBOX-ROUTE-SLOW": 504,
}  # fmt: skip
"""Of answers with a code; the others are 502."""


@dataclass(frozen=True)
class Entry:
    """What a pack serves.

    Attributes:
        pack: the pack.
        routes: method and path of each, as registered.
        static: real folders inside the pack, by the beginning of their paths.
    """

    pack: Pack
    routes: tuple[tuple[str, str], ...]
    static: dict[str, str]

    @property
    def shown(self) -> list[tuple[str, str]]:
        """The routes without those that aiohttp adds by itself."""
        return [
            one for one in self.routes if one[0] != "HEAD" or ("GET", one[1]) not in self.routes
        ]


class Routes:
    """The routes of all packs in sandboxes.

    Args:
        forwarder: hands a request to a pack's process.
    """

    def __init__(self, forwarder: Forwarder | None = None) -> None:
        self.entries: dict[str, Entry] = {}
        self.forwarder = forwarder or Forwarder()

    def add(self, pack: Pack, info: m.PackInfo, static: dict[str, str]) -> None:
        """What a pack has registered; ``static`` are folders that were checked."""
        good = [one for one in info.routes if one[1][:1] == "/" and len(one[1]) <= LONGEST]
        self.entries[pack.name] = Entry(pack, tuple(good[:MOST_ROUTES]), static)

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Behind all others: asks the packs about what nobody else has."""
        response = await self._coded(self._somebody(request)) if _is_free(request) else None
        return await handler(request) if response is None else response

    async def direct(self, request: web.Request) -> web.StreamResponse:
        """``/zimage/sandbox/<pack>/…``."""
        response = await self._coded(self._named(request))
        assert response is not None  # noqa: S101  it raises instead
        return response

    async def _coded(
        self, answer: Awaitable[web.StreamResponse | None]
    ) -> web.StreamResponse | None:
        try:
            return await answer
        except ZImageError as error:
            return refusal(error)

    async def _somebody(self, request: web.Request) -> web.StreamResponse | None:
        for entry in self.entries.values():
            for target in _targets(request.rel_url.raw_path):
                response = await self._of(entry, request, target)
                if response is not None:
                    return response
        return None

    async def _named(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["pack"]
        entry = self.entries.get(name)
        if entry is None:
            known = ", ".join(self.entries) or "-"
            raise ZImageError("ZI-SANDBOX-UNKNOWN", found=name[:200], expected=known)
        folders = 5 if request.rel_url.raw_path.startswith("/api/") else 4
        target = "/" + request.rel_url.raw_path.split("/", folders)[folders]
        response = await self._of(entry, request, target)
        if response is None:
            found = f"{request.method} {target[:200]}"
            known = ", ".join(f"{method} {path}" for method, path in entry.shown[:20]) or "-"
            raise ZImageError("ZI-SANDBOX-ROUTE-NONE", pack=name, found=found, expected=known)
        return response

    async def _of(
        self, entry: Entry, request: web.Request, target: str
    ) -> web.StreamResponse | None:
        """A pack's answer for a path, percent signs and all; None if it has none."""
        if target.startswith("//"):
            return None  # what follows would be taken for a server's name
        path = unquote(target)
        if request.method in {"GET", "HEAD"}:
            for prefix, folder in entry.static.items():
                if (file := _file(folder, prefix, path)) is not None:
                    return web.FileResponse(file)
        if not any(_meant(request.method, *one, target) for one in entry.routes):
            return None
        if "upgrade" in request.headers.get("Connection", "").lower():
            raise ZImageError("ZI-SANDBOX-ROUTE-SOCKET", pack=entry.pack.name)
        body = await read(request, LARGEST_REQUEST)
        query = request.rel_url.raw_query_string
        asked = header_filter.asked(request, f"{target}?{query}" if query else target, body)
        found = await self.forwarder.ask(entry.pack, asked)
        return None if found is None else header_filter.answered(entry.pack.name, found)


def refusal(error: ZImageError) -> web.Response:
    """A coded answer in both languages."""
    about = {"code": error.code, "zh": error.chinese, "en": error.english}
    return web.json_response({"error": about}, status=STATUS.get(error.code, 502))


def _is_free(request: web.Request) -> bool:
    """Whether no route fits, or only the folder of the page, which has no such file."""
    found: Any = request.match_info
    if found.http_exception is not None:
        return True
    resource = found.route.resource
    if not isinstance(resource, web.StaticResource) or resource.canonical not in {"", "/"}:
        return False
    folder = resource.get_info()["directory"]
    return not os.path.isfile(os.path.join(folder, found["filename"].replace("\0", "")))


def _targets(path: str) -> Iterator[str]:
    """A path, and what it is without ``/api``, which ComfyUI puts before every route."""
    yield path
    if path.startswith("/api/"):
        yield path[4:]


def _meant(asked: str, method: str, pattern: str, path: str) -> bool:
    return method in {asked, "*"} and claims(pattern, path)


def _file(folder: str, prefix: str, path: str) -> str | None:
    """A file in a folder, by its path in addresses; never one that lies elsewhere."""
    if not path.startswith(prefix + "/") or "\0" in path:
        return None
    real = os.path.realpath(os.path.join(folder, path[len(prefix) + 1 :].lstrip("/")))
    inside = real.startswith(folder + os.sep)
    return real if inside and os.path.isfile(real) else None
