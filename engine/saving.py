"""What the save node takes, known without anything that makes pictures."""

from __future__ import annotations

import os

from ..errors import ZImageError

_ROOT = os.path.join(os.sep, "output")


def check_quality(quality: int) -> None:
    """Raises ``ZI-VALUE`` for a quality that is not 1 to 100."""
    if not 1 <= quality <= 100:
        raise ZImageError("ZI-VALUE", name="quality", found=quality, expected="1 … 100")


def check_prefix(prefix: str) -> None:
    """Raises ``ZI-VALUE`` for a file name that leads out of ComfyUI's output folder.

    Links are not looked at here; ComfyUI does when it saves.
    """
    folder = os.path.normpath(os.path.join(_ROOT, os.path.dirname(os.path.normpath(prefix))))
    if os.path.commonpath((_ROOT, folder)) != _ROOT:
        raise ZImageError(
            "ZI-VALUE", name="filename_prefix", found=prefix, expected="a path inside output/"
        )
