"""Bodies of requests, which are as untrusted as any: read within limits, parsed without a fall."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from .errors import ZImageError

DEEPEST = 100
"""Nesting of a body; workflows of the page stay below 20."""


async def read(request: web.Request, limit: int) -> bytes:
    """The body, at most ``limit`` bytes of it (compressed ones count unpacked).

    Raises:
        ZImageError: ``ZI-REQUEST-LARGE``; ``ZI-REQUEST`` for one that breaks off.
    """
    if request._read_bytes is not None:  # somebody has read it before
        return request._read_bytes
    data = bytearray()
    try:
        async for chunk in request.content.iter_chunked(2**16):
            data += chunk
            if len(data) > limit:
                raise ZImageError("ZI-REQUEST-LARGE", maximum=f"{limit / 2**20:.1f} MiB")
    except web.RequestPayloadError as error:  # broken off, or not compressed as it says
        raise unfit(type(error).__name__, "JSON") from error
    return bytes(data)


def parse(data: bytes) -> dict[str, Any]:
    """A JSON object that code without checks can take apart without falling over.

    Raises:
        ZImageError: ``ZI-REQUEST``.
    """
    try:
        body = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise unfit(f"{type(error).__name__}: {error}"[:200], "JSON, UTF-8") from None
    if not isinstance(body, dict):
        raise unfit(type(body).__name__, "{…}")
    marks = data.count(b"{") + data.count(b"[")  # in texts as well, so rather too many
    if marks > DEEPEST and _depth(body) > DEEPEST:
        raise unfit(f"> {DEEPEST} [[[…", f"<= {DEEPEST} [[[…")
    return body


def unfit(found: str, expected: str) -> ZImageError:
    """What to raise for a body of no use."""
    return ZImageError("ZI-REQUEST", found=found, expected=expected)


def _depth(body: Any) -> int:
    """Nesting of a document, counted without recursion and no further than it matters."""
    level, depth = [body], 0
    while level and depth <= DEEPEST:
        depth += 1
        level = [inner for outer in level for inner in _inner(outer)]
    return depth


def _inner(value: Any) -> Iterator[Any]:
    values = value.values() if isinstance(value, dict) else value
    return (one for one in values if isinstance(one, (dict, list)))
