"""``GET /history`` is sent entry by entry, so that a long history holds nobody up.

The host makes one text of all of it, in the thread that answers everybody: 64 MiB, which the queue
keeps at most, take it seconds. What a client reads is the same.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator
from typing import Any

from aiohttp import web

from ...errors import ZImageError
from ...http_body import unfit
from ..base import comfyui
from ..base.hooks import HookPoint, requires_more
from .fuse import Handler, refusal
from .gate import Gate

GET = HookPoint("execution", "PromptQueue.get_history", ("self", "max_items", "offset"))
PATHS = frozenset({"/history", "/api/history"})
PIECE = 2**18
"""Bytes that are sent at once, or one entry where that is larger."""


def create() -> History:
    """The middleware of the running server."""
    return History(comfyui.server())


class History(Gate):
    """Answers in place of the host's handler; what is not JSON is told by its ``repr``."""

    def __init__(self, server: Any) -> None:
        super().__init__(server, _any)

    def check(self) -> None:
        """As :meth:`Gate.check`, and for the host's function."""
        super().check()
        GET.verify(vars(GET.owner())[GET.name])

    @web.middleware
    async def handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Send the history, or hand on."""
        if not self.active or request.method != "GET" or request.path not in PATHS:
            return await handler(request)
        try:
            most, offset = _number(request, "max_items", None), _number(request, "offset", -1)
        except ZImageError as error:
            return refusal(request, error)
        queue = self.server.prompt_queue
        if hasattr(queue, "listed"):  # the durable queue reads them from disk
            entries = queue.listed(most, offset)
        elif requires_more(queue.get_history, GET.parameters):
            return await handler(request)
        else:
            entries = queue.get_history(max_items=most, offset=offset).items()
        response = web.StreamResponse(headers={"Content-Type": "application/json; charset=utf-8"})
        await response.prepare(request)
        for piece in pieces(entries):
            await response.write(piece)
            await asyncio.sleep(0)  # others' turn, even when the socket takes everything
        await response.write_eof()
        return response


def pieces(entries: Iterable[tuple[str, Any]]) -> Iterator[bytes]:
    """A JSON object in pieces of :data:`PIECE` bytes or one member."""
    waiting, size, mark = [], 0, "{"
    for id, entry in entries:
        text = f"{mark}{json.dumps(id)}: {json.dumps(entry, default=repr)}"
        waiting.append(text)
        size, mark = size + len(text), ", "
        if size >= PIECE:
            yield "".join(waiting).encode()
            waiting, size = [], 0
    yield ("".join(waiting) + ("{}" if mark == "{" else "}")).encode()


def _number(request: web.Request, name: str, default: int | None) -> int | None:
    text = request.query.get(name)
    if text is None:
        return default
    try:
        return int(text)
    except ValueError:
        raise unfit(f"{name}: {text[:60]!r}", f"{name}: 0, 1, …") from None


async def _any(_request: web.Request) -> None:
    """Nothing is refused."""
