"""What requests to the host bring, judged before it takes them apart.

Everything here raises :class:`ZImageError`, ``ZI-REQUEST`` where nothing else is said, and changes
nothing.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from ... import http_body
from ...errors import ZImageError
from ...http_body import unfit

PLAIN = frozenset({"ascii", "iso8859-1", "cp1252", "gb2312", "gbk", "gb18030"})
"""Character sets in which ASCII is ASCII; some clients name one of them with every request."""
KINDS = ("input", "temp", "output")
"""Folders that ComfyUI shares."""
Kinds = type | tuple[type, ...]


def check_charset(request: web.Request, data: bytes) -> None:
    """A body has to mean the same to us, who read UTF-8, and to the host, who obeys the header.

    Raises:
        ZImageError: ``ZI-REQUEST-CHARSET``.
    """
    named = request.charset or "utf-8"
    try:
        known = codecs.lookup(named).name
    except (LookupError, ValueError):
        known = ""
    if known != "utf-8" and not (known in PLAIN and data.isascii()):
        raise ZImageError("ZI-REQUEST-CHARSET", found=named[:40])


async def read(request: web.Request, limit: int) -> bytes:
    """A body of JSON, at most ``limit`` bytes; what the handler's ``request.json()`` reads, too."""
    data = await http_body.read(request, limit)
    check_charset(request, data)
    request._read_bytes = data
    return data


def check_value(data: bytes) -> None:
    """Any JSON; nested no deeper than the host can write it down again."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise unfit(f"{type(error).__name__}: {error}"[:200], "JSON, UTF-8") from None
    if not isinstance(value, dict):
        data = b'{"value": ' + data + b"}"
    http_body.parse(data)


def check_fields(body: Mapping[str, Any], fields: Mapping[str, Kinds]) -> None:
    """Fields that have to be there."""
    for name, kind in fields.items():
        if not isinstance(body.get(name), kind):
            expected = ", ".join(f'"{name}": …' for name in fields)
            raise unfit(f"{name}: {body.get(name)!r:.60}", f"{{{expected}}}")


def check_ids(body: Mapping[str, Any]) -> None:
    """``delete`` of ``POST /queue`` and ``POST /history``."""
    ids = body.get("delete", [])
    if not isinstance(ids, list) or not all(isinstance(one, str) and _plain(one) for one in ids):
        raise unfit(f"delete: {ids!r:.60}", '"delete": ["…"]')


def check_address(headers: Mapping[str, str]) -> None:
    """Host and Origin, which the host takes apart when it is sent both."""
    if "Host" not in headers or "Origin" not in headers:
        return
    for name, mark in (("Host", "//"), ("Origin", "")):
        value = headers[name]
        try:
            parts = urlsplit(mark + value.lower())
            _ = parts.port
            (parts.hostname or "").encode("idna")
        except ValueError:
            raise unfit(f"{name}: {value[:60]!r}", f"{name}: {mark or 'http://'}…:8188") from None


async def check_upload(request: web.Request) -> None:
    """The form of ``POST /upload/…``."""
    try:
        form = await request.post()  # kept, so that the host reads it again
    except web.HTTPException:  # too large
        raise
    except Exception as error:  # how a form breaks off depends on aiohttp's version
        raise unfit(type(error).__name__, "multipart/form-data") from error
    image, kind, subfolder = form.get("image"), form.get("type", KINDS[0]), form.get("subfolder")
    if not isinstance(image, web.FileField) or not image.filename:
        raise unfit(f"image: {type(image).__name__}", 'image: filename="…"')
    if kind not in KINDS:
        raise unfit(f"type: {kind!r:.60}", " | ".join(KINDS))
    for name, value in (("filename", image.filename), ("subfolder", subfolder or "")):
        if not isinstance(value, str) or not _plain(value) or "\0" in value:
            raise unfit(f"{name}: {value!r:.60}", f"{name}: …")
    if request.path.endswith("/mask"):
        _check_reference(form.get("original_ref"))


def _check_reference(text: Any) -> None:
    """Which picture a mask is for."""
    reference = http_body.parse(text.encode("utf-8", "replace") if isinstance(text, str) else b"")
    check_fields({"subfolder": "", "type": "output", **reference},
                 {"filename": str, "subfolder": str, "type": str})  # fmt: skip


def _plain(text: str) -> bool:
    """Whether it can be written down; JSON may name half a character (``"\\ud800"``)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
