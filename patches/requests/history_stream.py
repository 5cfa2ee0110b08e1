"""``GET /history`` is sent entry by entry, so that a long history does not block the server.

The host serializes the whole history at once in the event loop: 64 MiB, which is what the queue
keeps at most, take seconds. The answer that a client reads is the same.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator
from typing import Any

from aiohttp import web

from ...errors import ZImageError
from ...http_body import unfit
from ..base import comfyui, refusals
from ..base.hooks import HookPoint, requires_more
from ..base.middleware_slot import Handler, MiddlewarePart, Slot
from ..base.registry import About

GET = HookPoint("execution", "PromptQueue.get_history", ("self", "max_items", "offset"))
PATHS = frozenset({"/history", "/api/history"})
PIECE = 2**18
"""Bytes that are sent at once, or one entry where that is larger."""

ABOUT = About(
    part="history",
    bare_host="The answer to `/history` is built in one piece, which takes seconds for a long one.",
    here="It is sent entry by entry.",
)


def create(slot: Slot) -> HistoryStream:
    """Return the middleware for the running server."""
    return HistoryStream(slot, comfyui.server())


class HistoryStream(MiddlewarePart):
    """Answers in place of the host's handler; values that JSON does not have become ``repr``.

    Args:
        slot: its place.
        server: the host's ``PromptServer``; its queue may be replaced later.
    """

    def __init__(self, slot: Slot, server: Any) -> None:
        super().__init__(slot)
        self.server = server

    def check(self) -> None:
        """Check the slot and the host's function; raises ``ZI-PATCH-SEAM``."""
        super().check()
        GET.verify(vars(GET.owner())[GET.name])

    async def handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Send the history, or hand the request on."""
        if request.method != "GET" or request.path not in PATHS:
            return await handler(request)
        try:
            most = _number(request, "max_items", None)
            offset = _number(request, "offset", -1)
        except ZImageError as error:
            return refusals.refuse(request, error)
        queue = self.server.prompt_queue
        if hasattr(queue, "listed"):  # the durable queue reads them from disk
            entries = queue.listed(most, offset)
        elif requires_more(queue.get_history, GET.parameters):
            return await handler(request)
        else:
            entries = queue.get_history(max_items=most, offset=offset).items()
        return await _send(request, entries)


async def _send(request: web.Request, entries: Iterable[tuple[str, Any]]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json; charset=utf-8"})
    await response.prepare(request)
    for piece in pieces(entries):
        await response.write(piece)
        await asyncio.sleep(0)  # yield, because writing to a fast client never waits
    await response.write_eof()
    return response


def pieces(entries: Iterable[tuple[str, Any]]) -> Iterator[bytes]:
    """Yield a JSON object in pieces of about :data:`PIECE` bytes."""
    members: list[str] = []
    size = 0
    separator = "{"
    for id, entry in entries:
        member = f"{separator}{json.dumps(id)}: {json.dumps(entry, default=repr)}"
        members.append(member)
        size += len(member)
        separator = ", "
        if size >= PIECE:
            yield "".join(members).encode()
            members = []
            size = 0
    end = "{}" if separator == "{" else "}"
    yield ("".join(members) + end).encode()


def _number(request: web.Request, name: str, default: int | None) -> int | None:
    text = request.query.get(name)
    if text is None:
        return default
    try:
        return int(text)
    except ValueError:
        raise unfit(f"{name}: {text[:60]!r}", f"{name}: 0, 1, …") from None
