"""Names of files in prompts and requests stay inside the folders that ComfyUI shares.

The host joins ``input/`` and any name that a prompt gives, so ``/etc/x.png`` and ``../x.png`` are
read from where they point; and an upload creates its subfolder before its path is checked.

A name has to be inside the folder that it names (``input/``, or the one of its annotation), as it
is written: links are not followed for this check. People link folders into ``input/`` on purpose,
and nobody can make a link over HTTP. The host checks ``/view`` in the same way. An absolute path
may be inside any of the three folders, because nodes pass such paths on.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from aiohttp import web

from ...errors import ZImageError
from ..base.hooks import HookPoint, Patch, Patches
from ..base.middleware_slot import Gate, Slot, posts_to
from ..base.registry import About

NAMES = HookPoint("folder_paths", "annotated_filepath", ())
"""Takes the annotation off a name, for nodes, for their validation and for ``/view``."""
CALLERS = (
    HookPoint("folder_paths", "get_annotated_filepath", ()),
    HookPoint("folder_paths", "exists_annotated_filepath", ()),
)
"""Called by nodes. They have to look up :data:`NAMES` at each call, or the patch has no effect."""
UPLOADS = frozenset({"/upload/image", "/upload/mask"})

ABOUT = About(
    part="paths",
    bare_host="LoadImage and others read `/etc/x.png` and `../x.png`; an upload creates folders "
    "elsewhere.",
    here="Refused with a code. Links inside `input/` are followed as before.",
)


class NamesPatch(Patch):
    """The patch of :data:`NAMES`, for a host in which everything goes through it."""

    def check(self) -> None:
        """Check the function as :meth:`Patch.check` does, and its callers."""
        super().check()
        for hook in CALLERS:
            function = vars(hook.owner())[hook.name]
            hook.verify(function)
            code = getattr(function, "__code__", None)
            if NAMES.name not in getattr(code, "co_names", ()):
                raise hook.error(f"{hook.name} without {NAMES.name}")


def create(slot: Slot) -> Patches:
    """Return the patch, with a judge of uploads."""
    return Patches(NamesPatch(NAMES, _wrap), Gate(slot, judge_upload, posts_to(UPLOADS)))


def _wrap(original: Callable[..., Any]) -> Callable[..., Any]:
    def annotated_filepath(*arguments: Any, **named: Any) -> Any:
        name, base = original(*arguments, **named)
        if isinstance(name, str):
            check(name, base, shared_folders())
        return name, base

    return annotated_filepath


def shared_folders() -> dict[str, str]:
    """Return the folders that ComfyUI shares, by kind."""
    host = sys.modules["folder_paths"]
    return {kind: host.get_directory_by_type(kind) for kind in ("input", "output", "temp")}


def check(name: str, base: str | None, shared: dict[str, str]) -> None:
    """Check that a name is inside a folder.

    Args:
        name: of a file.
        base: the folder; None for ``input``, from which the caller chooses another one later.
        shared: all folders, by kind.

    Raises:
        ZImageError: ``ZI-PATH``.
    """
    absolute = os.path.isabs(name)
    allowed = shared.values() if absolute else (base or shared["input"],)
    if not any(inside(name, folder) for folder in allowed):
        kind = next((kind for kind, folder in shared.items() if folder == base), "")
        expected = " | ".join(shared) if absolute or not kind else kind
        raise ZImageError("ZI-PATH", found=name[:200], expected=expected)


def inside(name: str, folder: str) -> bool:
    """Return whether a name stays in a folder; links are not followed."""
    folder = os.path.abspath(folder)
    try:
        return os.path.commonpath((folder, os.path.abspath(os.path.join(folder, name)))) == folder
    except ValueError:  # another drive
        return False


async def judge_upload(request: web.Request) -> None:
    """Check where an upload is to be stored; raise ``ZI-PATH`` for another folder."""
    subfolder = (await request.post()).get("subfolder", "")  # cached, so the host can read it again
    folders = shared_folders().values()
    if isinstance(subfolder, str) and not any(inside(subfolder, folder) for folder in folders):
        raise ZImageError("ZI-PATH", found=subfolder[:200], expected="input | output | temp")
