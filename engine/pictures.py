"""Write pictures with their workflow as metadata; a failed write leaves no file."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..errors import ZImageError, system
from ..errors.bilingual import Bilingual
from .saving import check_quality

FORMATS = {"webp": ".webp", "png": ".png", "jpeg": ".jpg"}
LARGEST = {"webp": 16_383, "png": 2**31 - 1, "jpeg": 65_500}
"""Largest side in pixels that a format, or its encoder, supports."""

# ComfyUI's page reads any ASCII tag of EXIF whose text begins with "prompt:" or "workflow:".
# Its own nodes use Model for the prompt, and Make and the tags below it for the rest.
_EXIF_PROMPT, _EXIF_FIRST = 0x0110, 0x010F
_EXIF_LIMIT = 60_000  # bytes; a JPEG segment holds 65,533


def to_image(pixels: np.ndarray) -> Image.Image:
    """Convert one picture in [0, 1] to a PIL image, rounded to the nearest 8-bit value.

    Args:
        pixels: ``[H, W, C]`` with C = 1 (grey), 3 (RGB) or 4 (RGBA).

    Raises:
        ZImageError: ``ZI-VALUE`` for another shape.
    """
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or 0 in pixels.shape:
        expected = Bilingual("[H, W, 3]（或 1、4）", "[H, W, 3] (or 1 or 4)")
        raise ZImageError("ZI-VALUE", name="images", found=list(pixels.shape), expected=expected)
    pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    array = np.nan_to_num(pixels.astype(np.float32), nan=0.0)
    return Image.fromarray(np.clip(np.rint(array * 255.0), 0, 255).astype(np.uint8))


def save(
    image: Image.Image,
    path: Path,
    format: str,
    quality: int,
    metadata: Mapping[str, Any],
) -> None:
    """Write ``image`` under a temporary name in the same folder, then rename it to ``path``.

    Args:
        image: a picture with 1, 3 or 4 channels.
        path: the file to write; its folder must exist.
        format: a key of :data:`FORMATS`.
        quality: 1 to 100 for webp (lossy) and jpeg.
        metadata: ``prompt`` and ``workflow`` (any JSON); empty for no metadata.

    Raises:
        ZImageError: ``ZI-OUTPUT`` (no file remains) or ``ZI-VALUE``.
    """
    if format not in FORMATS:
        raise ZImageError("ZI-VALUE", name="format", found=format, expected=" | ".join(FORMATS))
    check_quality(quality)
    if max(image.size) > LARGEST[format]:
        size = "×".join(map(str, image.size))
        expected = f"{format}: ≤ {LARGEST[format]}"
        raise ZImageError("ZI-VALUE", name="images", found=size, expected=expected)
    if format == "jpeg":
        image = image.convert("RGB")  # JPEG has no transparency
    temporary = path.parent / f".zimage-{uuid.uuid4().hex}.part"
    try:
        with temporary.open("xb") as stream:
            image.save(stream, **_options(image, format, quality, metadata))
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        with suppress(OSError):  # it was renamed, or the folder does not exist
            temporary.unlink()


def output_error(path: Path, error: OSError) -> ZImageError:
    """Return ``ZI-OUTPUT`` with the system's reason."""
    return ZImageError("ZI-OUTPUT", path=str(path), found=system.reason(error))


def _options(
    image: Image.Image, format: str, quality: int, metadata: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the arguments of ``Image.save`` for a format, metadata included."""
    texts = {key: json.dumps(value) for key, value in metadata.items() if value is not None}
    if format == "png":
        info = PngInfo()
        for key, text in texts.items():
            info.add_text(key.encode("latin-1", "replace").decode("latin-1")[:79], text)
        return {"format": "PNG", "pnginfo": info, "compress_level": 4}
    exif = image.getexif()
    tag = _EXIF_FIRST
    for key, text in texts.items():
        if key == "prompt":
            exif[_EXIF_PROMPT] = f"prompt:{text}"
        else:
            exif[tag] = f"{key}:{text}"
            tag -= 1
    raw = exif.tobytes() if texts else b""
    if format == "webp":
        return {"format": "WEBP", "quality": quality, "method": 4, "exif": raw}
    if len(raw) > _EXIF_LIMIT:
        raw = b""
    return {"format": "JPEG", "quality": quality, "subsampling": 0, "exif": raw}
