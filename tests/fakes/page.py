"""How ComfyUI's page (frontend 1.32.9) finds a workflow in a dropped picture, step by step."""

from __future__ import annotations

import struct


def from_webp(data: bytes) -> dict[str, str]:
    """Texts in the EXIF chunk of a WebP by the word before their first colon.

    Like the page, this steps from chunk to chunk without the padding byte of odd lengths.
    """
    assert data[:4] == b"RIFF"
    assert data[8:12] == b"WEBP"
    place = 12
    while place < len(data):
        kind, length = data[place : place + 4], struct.unpack("<I", data[place + 4 : place + 8])[0]
        if kind == b"EXIF":
            if data[place + 8 : place + 14] == b"Exif\0\0":
                place += 6
            return _by_key(_ascii_tags(data[place + 8 : place + 8 + length]))
        place += 8 + length
    return {}


def from_png(data: bytes) -> dict[str, str]:
    """Texts of the tEXt chunks of a PNG by their keyword."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    found, place = {}, 8
    while place < len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        if kind in (b"tEXt", b"comf", b"iTXt"):
            key, _, text = data[place + 8 : place + 8 + length].partition(b"\0")
            found[key.decode("latin-1")] = text.decode("utf-8")
        place += 12 + length
    return found


def _ascii_tags(exif: bytes) -> list[str]:
    """Every text value of the first image directory."""
    order = "<" if exif[:2] == b"II" else ">"
    (directory,) = struct.unpack(order + "I", exif[4:8])
    (count,) = struct.unpack(order + "H", exif[directory : directory + 2])
    texts = []
    for index in range(count):
        start = directory + 2 + 12 * index
        _, kind, size, offset = struct.unpack(order + "HHII", exif[start : start + 12])
        if kind == 2:
            texts.append(exif[offset : offset + size - 1].decode("utf-8"))
    return texts


def _by_key(texts: list[str]) -> dict[str, str]:
    return {text.partition(":")[0]: text.partition(":")[2] for text in texts}
