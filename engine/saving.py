"""Checks of the save node's values, without imports of imaging libraries."""

from __future__ import annotations

import os

from ..errors import ZImageError
from ..errors.bilingual import Bilingual


def check_quality(quality: int) -> None:
    """Refuse a quality outside 1 to 100.

    Raises:
        ZImageError: ``ZI-VALUE``.
    """
    if not 1 <= quality <= 100:
        raise ZImageError("ZI-VALUE", name="quality", found=quality, expected="1 … 100")


def check_prefix(prefix: str, output: str | None = None) -> None:
    """Refuse a file name that leads out of ComfyUI's output folder.

    This is the rule of ComfyUI: it joins the folder and the name, and does not follow symbolic
    links for the check. An absolute name is therefore only valid inside that folder.

    Args:
        prefix: the file name, which may begin with folders.
        output: the absolute path of the output folder. Without it, absolute names are refused, and
            relative ones must not leave the folder by ``..``.

    Raises:
        ZImageError: ``ZI-VALUE``.
    """
    folder = os.path.dirname(os.path.normpath(prefix))
    if not (_is_inside(folder, output) if output else _is_relative(folder)):
        raise outside(prefix, output or "output")


def outside(prefix: str, output: str) -> ZImageError:
    """Return ``ZI-VALUE`` for a file name outside a folder."""
    expected = Bilingual(f"{output} 内的路径", f"a path inside {output}")
    return ZImageError("ZI-VALUE", name="filename_prefix", found=prefix, expected=expected)


def _is_inside(folder: str, output: str) -> bool:
    try:
        joined = os.path.abspath(os.path.join(output, folder))
        return os.path.commonpath((output, joined)) == output
    except ValueError:  # another drive
        return False


def _is_relative(folder: str) -> bool:
    r"""Return whether a normalised path stays inside any folder.

    It has no root, no drive and no leading ``..``. On Windows, neither ``\x``
    nor ``C:x`` is absolute, but both leave the folder.
    """
    drive, rest = os.path.splitdrive(folder)
    rooted = bool(drive) or rest.startswith(os.sep)
    return not rooted and rest.split(os.sep)[0] != os.pardir
