"""What the page asks, and the answers to questions of no use."""

from __future__ import annotations

from aiohttp import web

from ..http_body import parse, unfit
from ..text import prompt_rules
from .tokens import ENCODERS

LARGEST_WORKFLOW = 8 * 2**20
LARGEST_PROMPT = 12 * prompt_rules.LIMIT + 1000
"""Bytes of a body; JSON may write one character as 12."""


def question(data: bytes) -> tuple[str, str, str | None]:
    """Text, encoder and the name of a BERT file, or None, of a request for token counts."""
    asked = parse(data)
    text, encoder, bert = (asked.get(name) for name in ("text", "encoder", "bert"))
    encoder = ENCODERS[0] if encoder is None else encoder
    if not isinstance(text, str) or encoder not in ENCODERS or not isinstance(bert, str | None):
        kind = type(text).__name__
        found = f"text: {kind}, encoder: {encoder!r:.40}, bert: {type(bert).__name__}"
        raise unfit(found, '{"text": "…", "encoder": "qwen3" | "dual", "bert": "….safetensors"}')
    return text, encoder, bert


def refusal(status: int, code: str, zh: str, en: str) -> web.Response:
    """A coded answer in both languages."""
    return web.json_response({"error": {"code": code, "zh": zh, "en": en}}, status=status)
