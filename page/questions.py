"""Request bodies of the page, and responses to invalid ones."""

from __future__ import annotations

from aiohttp import web

from ..http_body import parse, unfit
from ..text import prompt_rules
from .tokens import ENCODERS

LARGEST_WORKFLOW = 8 * 2**20
LARGEST_PROMPT = 12 * prompt_rules.LIMIT + 1000
"""Most bytes of a body; JSON may need 12 bytes for a character."""


def question(data: bytes) -> tuple[str, str, str | None]:
    """Return text, encoder and name of a BERT file (or None) of a request for token counts.

    Raises:
        ZImageError: for an invalid body, see :func:`..http_body.unfit`.
    """
    body = parse(data)
    text, encoder, bert = (body.get(name) for name in ("text", "encoder", "bert"))
    encoder = ENCODERS[0] if encoder is None else encoder
    if not isinstance(text, str) or encoder not in ENCODERS or not isinstance(bert, str | None):
        text_type = type(text).__name__
        found = f"text: {text_type}, encoder: {encoder!r:.40}, bert: {type(bert).__name__}"
        raise unfit(found, '{"text": "…", "encoder": "qwen3" | "dual", "bert": "….safetensors"}')
    return text, encoder, bert


def refusal(status: int, code: str, zh: str, en: str) -> web.Response:
    """Return a response with an error code and its message in both languages."""
    return web.json_response({"error": {"code": code, "zh": zh, "en": en}}, status=status)
