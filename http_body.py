"""Bodies of HTTP requests, read up to a limit and parsed into JSON that is safe to walk."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from .errors import ZImageError

DEEPEST = 100
"""Maximum nesting of a body. Workflows of the page stay below 20."""


async def read(request: web.Request, limit: int) -> bytes:
    """Return the body of a request, decompressed.

    Args:
        request: The request.
        limit: The maximum number of bytes. Compressed bodies are measured decompressed.

    Raises:
        ZImageError: ``ZI-REQUEST-LARGE``, or ``ZI-REQUEST`` for a body that breaks off.
    """
    if request._read_bytes is not None:  # another part has read the body
        return request._read_bytes
    data = bytearray()
    try:
        async for chunk in request.content.iter_chunked(2**16):
            data += chunk
            if len(data) > limit:
                raise ZImageError("ZI-REQUEST-LARGE", maximum=f"{limit / 2**20:.1f} MiB")
    except web.RequestPayloadError as error:  # it breaks off, or its compression is invalid
        raise unfit(type(error).__name__, "JSON") from error
    return bytes(data)


def parse(data: bytes) -> dict[str, Any]:
    """Return the JSON object in a body, at most :data:`DEEPEST` levels deep.

    Raises:
        ZImageError: ``ZI-REQUEST``.
    """
    try:
        body = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise unfit(f"{type(error).__name__}: {error}"[:200], "JSON, UTF-8") from None
    if not isinstance(body, dict):
        raise unfit(type(body).__name__, "{…}")
    brackets = data.count(b"{") + data.count(b"[")  # an upper bound: strings hold some too
    if brackets > DEEPEST and _depth(body) > DEEPEST:
        raise unfit(f"> {DEEPEST} [[[…", f"<= {DEEPEST} [[[…")
    return body


def unfit(found: str, expected: str) -> ZImageError:
    """Return the error for a body that cannot be used."""
    return ZImageError("ZI-REQUEST", found=found, expected=expected)


def _depth(body: Any) -> int:
    """Return the nesting of a document, counted without recursion up to the limit."""
    level, depth = [body], 0
    while level and depth <= DEEPEST:
        depth += 1
        level = [child for container in level for child in _containers(container)]
    return depth


def _containers(container: Any) -> list[Any]:
    """Return the objects and arrays directly inside one."""
    values = container.values() if isinstance(container, dict) else container
    return [value for value in values if isinstance(value, (dict, list))]
