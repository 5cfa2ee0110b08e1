"""What of a request reaches a pack, and what of a pack's answer reaches the browser."""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web
from multidict import CIMultiDict

from ...errors import ZImageError
from ..protocol.http_messages import LARGEST_RESPONSE_BYTES

ASKED = frozenset(
    {
        "accept", "accept-language", "content-type", "host", "if-modified-since", "if-none-match",
        "if-range", "range", "user-agent", "x-requested-with",
    }
)  # fmt: skip
"""Headers of requests that packs may see: no cookies, no passwords, no addresses."""
ANSWERED = frozenset(
    {
        "accept-ranges", "cache-control", "content-disposition", "content-encoding",
        "content-language", "content-range", "content-type", "etag", "expires", "last-modified",
        "location", "retry-after", "vary",
    }
)  # fmt: skip
"""Headers of answers that pass: nothing that sets cookies, opens the server to other sites, changes
what the page may do or concerns the connection."""
MOST_HEADERS, LONGEST_HEADER = 64, 8190
UNSOUND = re.compile(r"[^\t\x20-\x7e\x80-\xff]")


def asked(request: web.Request, target: str, body: bytes) -> dict[str, Any]:
    """A request as plain values.

    Args:
        target: path and query as the pack has registered it.
    """
    headers = [[k, v] for k, v in request.headers.items() if k.lower() in ASKED]
    headers.append(["Content-Length", str(len(body))])
    return {"method": request.method, "target": target, "headers": headers, "body": body}


def answered(pack: str, found: Any) -> web.Response:
    """The response for what a worker gave, which may be anything.

    Raises:
        ZImageError: ``ZI-SANDBOX-ROUTE-ANSWER``.
    """
    trouble = _trouble(found)
    if trouble:
        raise ZImageError("ZI-SANDBOX-ROUTE-ANSWER", pack=pack, found=trouble)
    headers = CIMultiDict((k, v) for k, v in found["headers"] if _passes(k.lower(), v))
    return web.Response(status=found["status"], body=found["body"], headers=headers)


def _trouble(found: Any) -> str:
    """What is wrong with an answer, in words."""
    if not isinstance(found, dict) or set(found) != {"status", "headers", "body"}:
        return type(found).__name__
    status, headers, body = found["status"], found["headers"], found["body"]
    if type(status) is not int or not 200 <= status < 600:
        return f"status {status!r}"[:100]
    if not isinstance(body, bytes) or len(body) > LARGEST_RESPONSE_BYTES:
        return f"body {type(body).__name__}"
    if not isinstance(headers, list) or len(headers) > MOST_HEADERS:
        return f"headers {type(headers).__name__}"
    return "" if all(map(_is_header, headers)) else "headers"


def _is_header(one: Any) -> bool:
    return isinstance(one, list) and len(one) == 2 and all(isinstance(text, str) for text in one)


def _passes(name: str, value: str) -> bool:
    if name not in ANSWERED or len(value) > LONGEST_HEADER or UNSOUND.search(value):
        return False
    # Only within this server: the browser takes a backslash for a slash.
    return name != "location" or (value[:1] == "/" and value[1:2] not in {"/", "\\"})
