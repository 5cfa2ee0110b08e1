"""Checks of the save node's values, without imports of imaging libraries."""

from __future__ import annotations

import os

from ..errors import ZImageError

_ROOT = os.path.join(os.sep, "output")


def check_quality(quality: int) -> None:
    """Refuse a quality outside 1 to 100.

    Raises:
        ZImageError: ``ZI-VALUE``.
    """
    if not 1 <= quality <= 100:
        raise ZImageError("ZI-VALUE", name="quality", found=quality, expected="1 … 100")


def check_prefix(prefix: str) -> None:
    """Refuse a file name that leads out of ComfyUI's output folder.

    Symbolic links are not resolved here; ComfyUI resolves them when it saves.

    Raises:
        ZImageError: ``ZI-VALUE``.
    """
    folder = os.path.normpath(os.path.join(_ROOT, os.path.dirname(os.path.normpath(prefix))))
    if os.path.commonpath((_ROOT, folder)) != _ROOT:
        raise ZImageError(
            "ZI-VALUE", name="filename_prefix", found=prefix, expected="a path inside output/"
        )
