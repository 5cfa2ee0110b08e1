"""Checks of requests before the host parses them.

All functions raise :class:`ZImageError`, ``ZI-REQUEST`` where no other code is named, and change
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
"""Character sets that contain ASCII; some clients name one of them in every request."""
KINDS = ("input", "temp", "output")
"""Folders that ComfyUI shares."""
Kinds = type | tuple[type, ...]


def check_charset(request: web.Request, data: bytes) -> None:
    """Check that UTF-8, which is read here, and the character set that the host uses agree.

    Raises:
        ZImageError: ``ZI-REQUEST-CHARSET``.
    """
    charset = request.charset or "utf-8"
    try:
        codec = codecs.lookup(charset).name
    except (LookupError, ValueError):
        codec = ""
    if codec != "utf-8" and not (codec in PLAIN and data.isascii()):
        raise ZImageError("ZI-REQUEST-CHARSET", found=charset[:40])


async def read(request: web.Request, limit: int) -> bytes:
    """Read a JSON body of at most ``limit`` bytes, also for the handler's ``request.json()``."""
    data = await http_body.read(request, limit)
    check_charset(request, data)
    request._read_bytes = data
    return data


def check_value(data: bytes) -> None:
    """Check that a body is JSON, and not nested deeper than the host can serialize."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise unfit(f"{type(error).__name__}: {error}"[:200], "JSON, UTF-8") from None
    if not isinstance(value, dict):
        data = b'{"value": ' + data + b"}"
    http_body.parse(data)


def check_fields(body: Mapping[str, Any], fields: Mapping[str, Kinds]) -> None:
    """Check that a body has fields of the right types."""
    for name, kind in fields.items():
        if not isinstance(body.get(name), kind):
            expected = ", ".join(f'"{name}": …' for name in fields)
            raise unfit(f"{name}: {body.get(name)!r:.60}", f"{{{expected}}}")


def check_ids(body: Mapping[str, Any]) -> None:
    """Check ``delete`` of ``POST /queue`` and ``POST /history``."""
    ids = body.get("delete", [])
    if not isinstance(ids, list) or not all(isinstance(id, str) and _encodable(id) for id in ids):
        raise unfit(f"delete: {ids!r:.60}", '"delete": ["…"]')


def check_address(headers: Mapping[str, str]) -> None:
    """Check Host and Origin, which the host parses when a request has both."""
    if "Host" not in headers or "Origin" not in headers:
        return
    for name, prefix in (("Host", "//"), ("Origin", "")):
        value = headers[name]
        try:
            parts = urlsplit(prefix + value.lower())
            _ = parts.port
            (parts.hostname or "").encode("idna")
        except ValueError:
            raise unfit(f"{name}: {value[:60]!r}", f"{name}: {prefix or 'http://'}…:8188") from None


async def check_upload(request: web.Request) -> None:
    """Check the form of ``POST /upload/…``."""
    try:
        form = await request.post()  # cached, so that the host can read it again
    except web.HTTPException:  # too large
        raise
    except Exception as error:  # the class depends on aiohttp's version
        raise unfit(type(error).__name__, "multipart/form-data") from error
    image = form.get("image")
    kind = form.get("type", KINDS[0])
    subfolder = form.get("subfolder")
    if not isinstance(image, web.FileField) or not image.filename:
        raise unfit(f"image: {type(image).__name__}", 'image: filename="…"')
    if kind not in KINDS:
        raise unfit(f"type: {kind!r:.60}", " | ".join(KINDS))
    for name, value in (("filename", image.filename), ("subfolder", subfolder or "")):
        if not isinstance(value, str) or not _encodable(value) or "\0" in value:
            raise unfit(f"{name}: {value!r:.60}", f"{name}: …")
    if request.path.endswith("/mask"):
        _check_reference(form.get("original_ref"))


def _check_reference(text: Any) -> None:
    """Check which image a mask is for."""
    reference = http_body.parse(text.encode("utf-8", "replace") if isinstance(text, str) else b"")
    fields = {"subfolder": "", "type": "output", **reference}
    check_fields(fields, {"filename": str, "subfolder": str, "type": str})


def _encodable(text: str) -> bool:
    """Return whether a text can be encoded; JSON allows lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
