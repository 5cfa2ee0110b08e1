"""The filter between browser and pack: which headers and responses pass."""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web
from multidict import CIMultiDict

from ...errors import ZImageError
from ..protocol.http_messages import LARGEST_RESPONSE_BYTES

REQUEST_HEADERS = frozenset(
    {
        *("accept", "accept-language", "content-type", "host", "if-modified-since"),
        *("if-none-match", "if-range", "range", "user-agent", "x-requested-with"),
    }
)
"""Headers that packs may see: no cookies, passwords or client addresses."""
RESPONSE_HEADERS = frozenset(
    {
        *("accept-ranges", "cache-control", "content-disposition", "content-encoding"),
        *("content-language", "content-range", "content-type", "etag", "expires"),
        *("last-modified", "location", "retry-after", "vary"),
    }
)
"""Headers that pass to the browser: none that sets cookies, opens the server to other sites,
changes what the page may do, or concerns the connection."""
MAX_HEADERS = 64
LONGEST_HEADER = 8190
INVALID = re.compile(r"[^\t\x20-\x7e\x80-\xff]")


def request_message(request: web.Request, target: str, body: bytes) -> dict[str, Any]:
    """Return a request as plain values for the worker.

    Args:
        request: from the browser.
        target: path and query, the path as the pack registered it.
        body: of the request.
    """
    headers = [[k, v] for k, v in request.headers.items() if k.lower() in REQUEST_HEADERS]
    headers.append(["Content-Length", str(len(body))])
    return {"method": request.method, "target": target, "headers": headers, "body": body}


def response(pack: str, message: Any) -> web.Response:
    """Return the response for the browser from what a worker sent, which may be anything.

    Raises:
        ZImageError: ``ZI-SANDBOX-ROUTE-ANSWER``.
    """
    problem = _problem(message)
    if problem:
        raise ZImageError("ZI-SANDBOX-ROUTE-ANSWER", pack=pack, found=problem)
    headers = CIMultiDict((k, v) for k, v in message["headers"] if _passes(k.lower(), v))
    return web.Response(status=message["status"], body=message["body"], headers=headers)


def _problem(message: Any) -> str:
    """Return what is wrong with a response; an empty text if nothing is."""
    if not isinstance(message, dict) or set(message) != {"status", "headers", "body"}:
        return type(message).__name__
    status = message["status"]
    headers = message["headers"]
    body = message["body"]
    if type(status) is not int or not 200 <= status < 600:
        return f"status {status!r}"[:100]
    if not isinstance(body, bytes) or len(body) > LARGEST_RESPONSE_BYTES:
        return f"body {type(body).__name__}"
    if not isinstance(headers, list) or len(headers) > MAX_HEADERS:
        return f"headers {type(headers).__name__}"
    return "" if all(map(_is_header, headers)) else "headers"


def _is_header(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)


def _passes(name: str, value: str) -> bool:
    if name not in RESPONSE_HEADERS or len(value) > LONGEST_HEADER or INVALID.search(value):
        return False
    # A redirect stays on this server; browsers treat a backslash as a slash.
    return name != "location" or (value[:1] == "/" and value[1:2] not in {"/", "\\"})
