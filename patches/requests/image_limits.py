"""Limits of image files: size, unreadable files, and gray of 16 bits.

A small file that decodes to a huge image is refused by its header, before it is decoded. 21 KB of
PNG can be 13300² pixels: the host's ``/view`` decodes them in the event loop (3 s), and LoadImage
takes 8 GB for them. The limit is 100 megapixels (10,000²); LoadImage takes about 4.5 GB for such an
image. Photos of current cameras and upscaled images that are loaded again are smaller.
``$ZIMAGE_MAX_MEGAPIXELS`` sets another limit. Images that are only saved have no limit.

The frames of an animation count together where the host keeps all of them
(:data:`ANIMATION_FACTOR`).

A file that cannot be read is refused by its name.

LoadImage converts Pillow's 16-bit gray to 8 bits by clipping everything above 255, which leaves
white. Here the whole range is scaled to 8 bits, as in any viewer.
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
from ..base.hooks import Argument, HookPoint, Patch, Patches
from ..base.middleware_slot import Gate, Slot, posts_to
from ..base.registry import About
from .paths import UPLOADS

OPEN = HookPoint("PIL.Image", "open", ("fp",))
PILLOW = HookPoint("node_helpers", "pillow", ("arg",))
"""The host's nodes open files through this, and then read every frame."""
ANIMATION_FACTOR = 4
"""All frames of a file may have this many times the pixels of an image: 430 frames of 1280×720."""

ABOUT = About(
    part="pictures",
    bare_host="A PNG of 21 KB (13300²) blocks everybody in `/view`, and takes 8 GB in LoadImage.",
    here="Refused by its header above 100 megapixels (`ZIMAGE_MAX_MEGAPIXELS`).",
)


def create(slot: Slot) -> Patches:
    """Return both patches, with a judge of uploads."""
    limit = ImageLimit(int(Settings.from_environment().megapixels * 10**6))
    return Patches(
        Patch(OPEN, limit.open),
        Patch(PILLOW, limit.pillow),
        Gate(slot, judge_upload, posts_to(UPLOADS)),
    )


class ImageLimit:
    """Wraps the functions that open images.

    Args:
        pixels: width x height of the largest.
    """

    def __init__(self, pixels: int) -> None:
        self.pixels = pixels

    def open(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap ``PIL.Image.open``, which reads only headers."""
        file = Argument(original, "fp")

        def open(*arguments: Any, **named: Any) -> Any:
            try:
                image = original(*arguments, **named)
            except Exception as error:
                if type(error).__name__ != "DecompressionBombError":
                    raise
                pixels = re.search(r"\d+", str(error))  # the first number of Pillow's message
                raise self.error(pixels[0] if pixels else "?") from None
            try:
                self.check(*image.size)
            except ZImageError:
                if not hasattr(file.of(arguments, named), "read"):  # else the caller closes it
                    image.close()
                raise
            return image

        return open

    def pillow(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap the host's helper; a later frame can be larger than the first."""
        argument = Argument(original, "arg")

        def pillow(*arguments: Any, **named: Any) -> Any:
            source = argument.of(arguments, named)
            is_image = hasattr(source, "getbands")  # positioned at one of its frames
            if is_image:
                self.check(*source.size, frames=source.tell() + 1)
            try:
                result = original(*arguments, **named)
            except ZImageError:
                raise
            except Exception as error:
                if getattr(error, "errno", None) is not None:  # of the disk, not of the file
                    raise
                raise unreadable(source, error) from error
            return eight_bits(result) if is_image else result

        return pillow

    def check(self, width: int, height: int, frames: int = 1) -> None:
        """Check an image with so many frames up to now; raise ``ZI-PICTURE-LARGE``."""
        if width * height > self.pixels:
            raise self.error(f"{width}×{height}")
        if width * height * frames > self.pixels * ANIMATION_FACTOR:
            raise self.error(f"{width}×{height}×{frames}")

    def error(self, found: str) -> ZImageError:
        """Return the error for an image that is too large."""
        return ZImageError("ZI-PICTURE-LARGE", found=found, maximum=f"{self.pixels:,}")


def eight_bits(image: Any) -> Any:
    """Return an image of 16-bit gray as one of 8 bits, anything else unchanged."""
    if not str(getattr(image, "mode", "")).startswith("I;16"):
        return image
    # 65535 / 257 = 255, and 0.5 rounds. Pillow accepts only a factor and an offset for mode I.
    converted = image.convert("I").point(lambda value: value * (1 / 257) + 0.5).convert("L")
    converted.info = image.info
    return converted


@functools.cache
def _unreadable_error() -> type[ZImageError]:
    """Return a class that is Pillow's error, too: packs catch that to try other readers."""
    from PIL import UnidentifiedImageError

    return type("UnreadableError", (ZImageError, UnidentifiedImageError), {"__module__": __name__})


def unreadable(source: Any, error: Exception) -> ZImageError:
    """Return the error for a file that is no image: ``ZI-PICTURE-FILE``."""
    name = Path(source).name if isinstance(source, str | Path) else ""
    if not name:
        name = Path(str(getattr(source, "filename", ""))).name or "-"
    reason = "" if type(error).__name__ == "UnidentifiedImageError" else str(error)
    return _unreadable_error()("ZI-PICTURE-FILE", name=name, found=reason or type(error).__name__)


async def judge_upload(request: web.Request) -> None:
    """Check an image before the host stores it; raise ``ZI-PICTURE-LARGE``."""
    field = (await request.post()).get("image")  # cached, so that the host can read it again
    file = getattr(field, "file", None)
    if file is None:
        return
    try:
        sys.modules["PIL.Image"].open(file)  # checks the size, see ImageLimit.open
    except ZImageError:
        raise
    except Exception:  # noqa: BLE001 - no image, or a damaged one: the host stores such files, too
        return
    finally:
        file.seek(0)
