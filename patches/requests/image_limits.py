"""Pictures from files: too large ones are refused, unreadable ones named, 16-bit ones not white.

A small file that unpacks to a huge picture is refused by its header, before it is unpacked.

21 KB of PNG can be 13300² pixels: the host's ``/view`` unpacks it in the thread that answers
everybody (3 s), and LoadImage takes 8 GB for it. The limit is 100 megapixels (10,000²): more than
any camera of its time and the largest upscales that are loaded again, and about 4.5 GB in
LoadImage. ``$ZIMAGE_MAX_MEGAPIXELS`` sets another one. Pictures that are only saved have no limit.

The frames of an animation count together where the host keeps them all (:data:`FRAMES`).

LoadImage makes 8 bits of Pillow's 16-bit grey by cutting everything above 255, which leaves white;
here the upper eight bits count, as in any viewer.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from ...config import Settings
from ...errors import ZImageError
from ..base import comfyui
from ..base.hooks import Argument, HookPoint, Patch, Patches
from .gate import Gate
from .paths import UPLOADS

OPEN = HookPoint("PIL.Image", "open", ("fp",))
PILLOW = HookPoint("node_helpers", "pillow", ("arg",))
"""Through this the host's nodes open files and then touch every frame."""
FRAMES = 4
"""All frames of one file may have this many times the pixels of one picture: 430 of 1280×720."""


def create() -> Patches:
    """Both patches, and a judge of uploads."""
    limit = Limit(int(Settings.from_environment().megapixels * 10**6))
    return Patches(
        Patch(OPEN, limit.open),
        Patch(PILLOW, limit.pillow),
        Gate(comfyui.server(), judge_upload),
    )


class Limit:
    """Wraps what opens pictures; ``pixels`` is width x height of the largest."""

    def __init__(self, pixels: int) -> None:
        self.pixels = pixels

    def open(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Around ``PIL.Image.open``, which reads headers alone."""

        file = Argument(original, "fp")

        def open(*arguments: Any, **named: Any) -> Any:
            try:
                picture = original(*arguments, **named)
            except Exception as error:
                if type(error).__name__ != "DecompressionBombError":
                    raise
                found = re.search(r"\d+", str(error))  # Pillow names the pixels first
                raise self.error(found[0] if found else "?") from None
            try:
                self.check(*picture.size)
            except ZImageError:
                if not hasattr(file.of(arguments, named), "read"):
                    picture.close()  # an open file is the caller's to close
                raise
            return picture

        return open

    def pillow(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Around the host's helper; a later frame can be larger than the first."""

        opened = Argument(original, "arg")

        def pillow(*arguments: Any, **named: Any) -> Any:
            arg = opened.of(arguments, named)
            frame = hasattr(arg, "getbands")  # a picture, standing at one of its frames
            if frame:
                self.check(*arg.size, frames=arg.tell() + 1)
            try:
                made = original(*arguments, **named)
            except ZImageError:
                raise
            except Exception as error:
                if getattr(error, "errno", None) is not None:  # the disk's trouble, not the file's
                    raise
                raise unreadable(arg, error) from error
            return eight_bits(made) if frame else made

        return pillow

    def check(self, width: int, height: int, frames: int = 1) -> None:
        """Judge a picture of so many frames up to now; raises ``ZI-PICTURE-LARGE``."""
        if width * height > self.pixels:
            raise self.error(f"{width}×{height}")
        if width * height * frames > self.pixels * FRAMES:
            raise self.error(f"{width}×{height}×{frames}")

    def error(self, found: str) -> ZImageError:
        """What to raise for a picture that is too large."""
        return ZImageError("ZI-PICTURE-LARGE", found=found, maximum=f"{self.pixels:,}")


def eight_bits(made: Any) -> Any:
    """A picture of 16-bit grey as one of 8 bits, anything else as it is."""
    if not str(getattr(made, "mode", "")).startswith("I;16"):
        return made
    plain = made.convert("I").point(lambda value: value * (1 / 257) + 0.5).convert("L")
    plain.info = made.info
    return plain


@functools.cache
def _unreadable_error() -> type[ZImageError]:
    """Pillow's error, too, because packs expect that and go on to other readers."""
    from PIL import UnidentifiedImageError

    return type("UnreadableError", (ZImageError, UnidentifiedImageError), {"__module__": __name__})


def unreadable(source: Any, error: Exception) -> ZImageError:
    """What to raise for a file that is no picture: ``ZI-PICTURE-FILE``."""
    name = Path(source).name if isinstance(source, str | Path) else ""
    if not name:
        name = Path(str(getattr(source, "filename", ""))).name or "-"
    reason = "" if type(error).__name__ == "UnidentifiedImageError" else str(error)
    return _unreadable_error()("ZI-PICTURE-FILE", name=name, found=reason or type(error).__name__)


async def judge_upload(request: web.Request) -> None:
    """Judge a picture before the host keeps it; raises ``ZI-PICTURE-LARGE``."""
    if request.method != "POST" or request.path.removeprefix("/api") not in UPLOADS:
        return
    field = (await request.post()).get("image")  # kept, so that the host reads it again
    file = getattr(field, "file", None)
    if file is None:
        return
    try:
        sys.modules["PIL.Image"].open(file)
    except ZImageError:
        raise
    except Exception:  # noqa: BLE001 - no picture, or a broken one: the host keeps such too
        return
    finally:
        file.seek(0)
