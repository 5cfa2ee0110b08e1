"""Bodies of requests, which are as untrusted as any, and the answers to those of no use."""

from __future__ import annotations

import json

from aiohttp import web

from ..errors import ZImageError
from ..text import rules
from .tokens import ENCODERS

LARGEST_WORKFLOW = 8 * 2**20
LARGEST_PROMPT = 12 * rules.LIMIT + 1000
"""Bytes of a body; JSON may write one character as 12."""


async def read(request: web.Request, limit: int) -> bytes:
    """The body, at most ``limit`` bytes of it (compressed ones count unpacked)."""
    data = bytearray()
    try:
        async for chunk in request.content.iter_chunked(2**16):
            data += chunk
            if len(data) > limit:
                raise ZImageError("ZI-REQUEST-LARGE", maximum=f"{limit / 2**20:.1f} MiB")
    except web.RequestPayloadError as error:  # broken off, or not compressed as it says
        raise ZImageError("ZI-REQUEST", found=type(error).__name__, expected="JSON") from error
    return bytes(data)


def question(data: bytes) -> tuple[str, str]:
    """Text and encoder of a request for token counts."""
    try:
        asked = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ZImageError("ZI-REQUEST", found=type(error).__name__, expected="JSON") from error
    text = asked.get("text") if isinstance(asked, dict) else None
    encoder = asked.get("encoder", ENCODERS[0]) if isinstance(asked, dict) else None
    if not isinstance(text, str) or encoder not in ENCODERS:
        expected = '{"text": "…", "encoder": "qwen3" | "dual"}'
        raise ZImageError("ZI-REQUEST", found=type(asked).__name__, expected=expected)
    return text, encoder


def refusal(status: int, code: str, zh: str, en: str) -> web.Response:
    """A coded answer in both languages."""
    return web.json_response({"error": {"code": code, "zh": zh, "en": en}}, status=status)
