"""Names of files in prompts and requests stay inside the folders that ComfyUI shares.

The host joins ``input/`` and whatever name a prompt gives, so ``/etc/x.png`` and ``../x.png`` are
read from where they point; and an upload makes its subfolder before it looks where that is.

A name has to lie inside the folder that it names (``input/``, or the one of its annotation), as it
is written: links are not followed for the judgement. People link folders into ``input/`` on
purpose, and nobody can make a link over HTTP. The host judges ``/view`` in the same way. A whole
path is taken inside any of the three folders, because nodes hand on such.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from aiohttp import web

from ...errors import ZImageError
from ..base import comfyui
from ..base.hooks import HookPoint, Patch, Patches
from .gate import Gate

NAMES = HookPoint("folder_paths", "annotated_filepath", ())
"""What takes the annotation off a name, for nodes, for their validation and for ``/view``."""
THROUGH = (
    HookPoint("folder_paths", "get_annotated_filepath", ()),
    HookPoint("folder_paths", "exists_annotated_filepath", ()),
)
"""What nodes call; they look :data:`NAMES` up when they are called, or all this is of no use."""
UPLOADS = frozenset({"/upload/image", "/upload/mask"})


class Names(Patch):
    """The patch of :data:`NAMES`, where everything goes through it."""

    def check(self) -> None:
        """As :meth:`Patch.check`, for the callers too."""
        super().check()
        for seam in THROUGH:
            function = vars(seam.owner())[seam.name]
            seam.verify(function)
            code = getattr(function, "__code__", None)
            if NAMES.name not in getattr(code, "co_names", ()):
                raise seam.error(f"{seam.name} without {NAMES.name}")


def create() -> Patches:
    """The patch, and a judge of uploads."""
    return Patches(Names(NAMES, _wrap), Gate(comfyui.server(), judge_upload))


def _wrap(original: Callable[..., Any]) -> Callable[..., Any]:
    def annotated_filepath(*arguments: Any, **named: Any) -> Any:
        bare, base = original(*arguments, **named)
        if isinstance(bare, str):
            check(bare, base, folders())
        return bare, base

    return annotated_filepath


def folders() -> dict[str, str]:
    """The folders that ComfyUI shares, by their kind."""
    host = sys.modules["folder_paths"]
    return {kind: host.get_directory_by_type(kind) for kind in ("input", "output", "temp")}


def check(name: str, base: str | None, shared: dict[str, str]) -> None:
    """Judge a name in a folder; None: the caller knows in which, and only what is above them all
    is seen here.

    Raises:
        ZImageError: ``ZI-PATH``.
    """
    whole = os.path.isabs(name)
    of = shared.values() if whole else (base or shared["input"],)
    if not any(inside(name, folder) for folder in of):
        kind = next((kind for kind, folder in shared.items() if folder == base), "")
        expected = " | ".join(shared) if whole or not kind else kind
        raise ZImageError("ZI-PATH", found=name[:200], expected=expected)


def inside(name: str, folder: str) -> bool:
    """Whether a name stays in a folder, by what is written alone."""
    folder = os.path.abspath(folder)
    try:
        return os.path.commonpath((folder, os.path.abspath(os.path.join(folder, name)))) == folder
    except ValueError:  # another drive
        return False


async def judge_upload(request: web.Request) -> None:
    """Judge where an upload wants to go; raises ``ZI-PATH``."""
    if request.method != "POST" or request.path.removeprefix("/api") not in UPLOADS:
        return
    subfolder = (await request.post()).get("subfolder", "")  # kept, so that the host reads it again
    shared = folders().values()
    if isinstance(subfolder, str) and not any(inside(subfolder, folder) for folder in shared):
        raise ZImageError("ZI-PATH", found=subfolder[:200], expected="input | output | temp")
